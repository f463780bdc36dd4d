// One session over several connections, by hand: peers that share CmdSN, task tags and a session.
#pragma once

#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <vector>

#include "test/iscsi/conversation.h"

namespace test {

class SeveralPeers {
 public:
  std::uint32_t cmd_sn;
  std::uint32_t task_tag = 0;

  /// Logs `count` connections in, CIDs 1, 2, ..., the leading one with `keys`.
  explicit SeveralPeers(Array& array, std::size_t count = 2, std::uint32_t first_cmd_sn = 1,
                        const ByteVector& keys = {})
      : cmd_sn(first_cmd_sn), array_(array) {
    ByteVector offers = pairs("MaxConnections=4");
    offers.insert(offers.end(), keys.begin(), keys.end());
    unconnected(1).login(offers);
    while (peers_.size() < count) add(static_cast<std::uint16_t>(peers_.size() + 1));
  }

  Peer& operator[](std::size_t index) { return *peers_.at(index); }
  std::size_t size() const { return peers_.size(); }

  /// Another connection, before its login.
  Peer& unconnected(std::uint16_t cid) {
    auto peer = std::make_unique<Peer>(array_);
    peer->cid = cid;
    peer->cmd_sn = cmd_sn;
    if (!peers_.empty()) peer->tsih = peers_.front()->tsih;
    peers_.push_back(std::move(peer));
    return *peers_.back();
  }
  Peer& add(std::uint16_t cid, const ByteVector& keys = {}) {
    Peer& peer = unconnected(cid);
    peer.login(keys);
    return peer;
  }

  /// Takes the unit attention of the new nexus on both logical units.
  void clear_attentions() {
    for (std::uint16_t lun : {0, 1}) send(0, test_unit_ready(), 0x80, 0, {}, lun);
    CHECK((*this)[0].answers().size() == 2);
    task_tag = 0;
  }

  /// A SCSI Command with the next CmdSN and task tag, for connection `index` (from 0).
  iscsi::ScsiCommandBhs command(std::size_t index, ByteVector cdb, std::uint8_t flags, std::uint32_t expected_length,
                                std::uint16_t lun = 0) {
    Peer& peer = (*this)[index];
    peer.cmd_sn = cmd_sn++;
    peer.task_tag = task_tag++;
    return peer.command(std::move(cdb), flags, expected_length, lun);
  }
  /// Sends it; gives back its task tag.
  std::uint32_t send(std::size_t index, ByteVector cdb, std::uint8_t flags, std::uint32_t expected_length,
                     const ByteVector& immediate = {}, std::uint16_t lun = 0) {
    (*this)[index].send(command(index, std::move(cdb), flags, expected_length, lun), immediate);
    return task_tag;
  }

  /// The output of connection `index` as table lines, without NOP-Ins that ask for an answer: they get it.
  std::vector<std::string> told(std::size_t index) {
    std::vector<std::string> all;
    for (bool pinged = true; pinged;) {
      pinged = false;
      for (const Answer& each : (*this)[index].answers()) {
        if (each.code() != iscsi::Opcode::nop_in || each.bhs.initiator_task_tag != iscsi::kReservedTag) {
          all.push_back(each.line());
          continue;
        }
        acknowledge(index, each.as<iscsi::NopInBhs>().target_transfer_tag);
        pinged = true;
      }
    }
    return all;
  }
  /// A NOP-Out that says which StatSN is expected next.
  void acknowledge(std::size_t index, std::uint32_t target_transfer_tag = 1) {
    iscsi::NopOutBhs nop;
    nop.opcode |= iscsi::kImmediate;
    nop.initiator_task_tag = iscsi::kReservedTag;
    nop.target_transfer_tag = target_transfer_tag;
    nop.cmd_sn = cmd_sn;
    nop.exp_stat_sn = (*this)[index].exp_stat_sn;
    (*this)[index].send(nop);
  }

  /// The same task management request as Peer's, immediate, from connection `index`.
  std::vector<std::string> manage(std::size_t index, std::uint8_t function,
                                  std::uint32_t referenced = iscsi::kReservedTag, std::uint32_t ref_cmd_sn = 0) {
    Peer& peer = (*this)[index];
    peer.cmd_sn = cmd_sn;
    peer.task_tag = 0x100;
    peer.send(peer.task_management(function, 0, referenced, ref_cmd_sn));
    return told(index);
  }

  /// A Logout Request of connection `index`, for `cid`, immediate.
  std::vector<std::string> log_out(std::size_t index, std::uint8_t reason, std::uint16_t cid) {
    Peer& peer = (*this)[index];
    peer.task_tag = 0x200;
    auto bhs = peer.logout_request(reason);
    bhs.opcode |= iscsi::kImmediate;
    bhs.cmd_sn = cmd_sn;
    bhs.cid = cid;
    peer.send(bhs);
    return peer.told();
  }

 private:
  Array& array_;
  std::vector<std::unique_ptr<Peer>> peers_;
};

}  // namespace test
