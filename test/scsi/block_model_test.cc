// Random block commands against a model: an array of bytes. What a command returns is foretold when it is sent; with a
// store that may block, its work and that of others is then done in a random order, and the foretelling must hold.
// rapidcheck prints the seed of a failure.
//
// Not tested, and why: errors, which have their own tests; commands from several I_T nexuses, whose block commands are
// ordered alike.
#include <doctest/doctest.h>
#include <rapidcheck.h>

#include "handlers/file_store.h"
#include "handlers/memory_store.h"
#include "test/handlers/store_kinds.h"
#include "test/scsi/block_cdbs.h"
#include "test/scsi/device_fixture.h"

using namespace test;
using scsi::BlockFlags;

namespace {

constexpr std::uint64_t kBlocks = 32;
constexpr std::uint16_t kLun = 2;

struct Step {
  int kind = 0;
  std::uint64_t lba = 0;
  std::uint64_t count = 0;
  int seed = 0;
  std::size_t run = 0;  ///< how many held jobs to let go afterwards
};

std::ostream& operator<<(std::ostream& out, const Step& step) {
  return out << "{" << step.kind << ", " << step.lba << ", " << step.count << ", " << step.seed << ", " << step.run
             << "}";
}

/// `size` of them at most.
rc::Gen<std::vector<Step>> some_steps(int size) {
  auto step = rc::gen::map(rc::gen::tuple(rc::gen::inRange(0, 11), rc::gen::inRange<std::uint64_t>(0, kBlocks),
                                          rc::gen::inRange<std::uint64_t>(1, 9), rc::gen::inRange(0, 6),
                                          rc::gen::inRange<std::size_t>(0, 4)),
                           [](const std::tuple<int, std::uint64_t, std::uint64_t, int, std::size_t>& from) {
                             auto [kind, lba, count, seed, run] = from;
                             return Step{kind, lba, std::min(count, kBlocks - lba), seed, run};
                           });
  auto any_step = rc::gen::resize(rc::kNominalSize, step);
  return rc::gen::resize(size, rc::gen::container<std::vector<Step>>(any_step));
}

/// The bytes of the medium, and which blocks are mapped.
class Model {
 public:
  explicit Model(std::uint32_t block_length)
      : block_length_(block_length), bytes_(kBlocks * block_length), mapped_(kBlocks) {}

  std::vector<std::uint8_t> read(std::uint64_t lba, std::uint64_t count) const {
    return {bytes_.begin() + at(lba), bytes_.begin() + at(lba + count)};
  }
  void write(std::uint64_t lba, const std::vector<std::uint8_t>& data) {
    std::copy(data.begin(), data.end(), bytes_.begin() + at(lba));
    std::fill_n(mapped_.begin() + static_cast<std::ptrdiff_t>(lba), data.size() / block_length_, true);
  }
  void unmap(std::uint64_t lba, std::uint64_t count) {
    std::fill(bytes_.begin() + at(lba), bytes_.begin() + at(lba + count), std::uint8_t{0});
    std::fill_n(mapped_.begin() + static_cast<std::ptrdiff_t>(lba), count, false);
  }
  const std::vector<bool>& mapped() const { return mapped_; }
  bool zeros(std::uint64_t lba) const {
    return std::all_of(bytes_.begin() + at(lba), bytes_.begin() + at(lba + 1), [](auto byte) { return byte == 0; });
  }
  std::uint32_t block_length() const { return block_length_; }

 private:
  std::ptrdiff_t at(std::uint64_t lba) const { return static_cast<std::ptrdiff_t>(lba * block_length_); }

  std::uint32_t block_length_;
  std::vector<std::uint8_t> bytes_;
  std::vector<bool> mapped_;
};

/// A command that was sent, and what has to come back.
struct Foretold {
  Command* command = nullptr;
  bool miscompare = false;
  std::optional<std::vector<std::uint8_t>> data{};
  std::uint64_t status_from = kBlocks;  ///< of a GET LBA STATUS
  std::vector<bool> mapped{};
  std::vector<bool> zeros{};
};

class Run {
 public:
  /// `exact`: the store maps precisely the blocks that were written.
  Run(std::unique_ptr<handlers::BackingStore> store, std::uint32_t block_length, bool exact)
      : exact_(exact), model_(block_length) {
    scsi::LogicalUnitConfig config;
    config.name = "model";
    config.block_length = block_length;
    device_.server.add(scsi::Lun{kLun}, std::make_shared<scsi::LogicalUnit>(config, std::move(store)));
    device_.run({0x00, 0, 0, 0, 0, 0}, {}, kLun);  // its unit attention
  }

  void step(const Step& step) {
    send(step);
    for (std::size_t i = 0; i < step.run && device_.executor.held() > 0; ++i)
      device_.executor.run((step.lba + i * 7) % device_.executor.held());
  }

  void check() {
    while (device_.executor.held() > 0) device_.executor.run(device_.executor.held() / 2);
    for (const Foretold& foretold : foretold_) check(foretold);
    auto whole = device_.run(cdb_16(0x88, 0, kBlocks), {}, kLun).data();
    RC_ASSERT(whole == model_.read(0, kBlocks));
  }

 private:
  std::vector<std::uint8_t> blocks(const Step& step) const {
    if (step.seed == 0) return std::vector<std::uint8_t>(step.count * model_.block_length());
    return pattern(step.count * model_.block_length(), static_cast<std::uint8_t>(step.seed));
  }

  Foretold& send_cdb(const std::vector<std::uint8_t>& cdb, std::vector<std::uint8_t> data = {}) {
    foretold_.push_back({&device_.send(cdb, std::move(data), kLun)});
    return foretold_.back();
  }

  void send(const Step& step) {
    auto lba32 = static_cast<std::uint32_t>(step.lba);
    auto count16 = static_cast<std::uint16_t>(step.count);
    auto count32 = static_cast<std::uint32_t>(step.count);
    auto data = blocks(step);
    switch (step.kind) {
      case 0: send_cdb(read_10(lba32, count16)).data = model_.read(step.lba, step.count); break;
      case 1: send_cdb(cdb_16(0x88, step.lba, count32)).data = model_.read(step.lba, step.count); break;
      case 2: send_cdb(write_10(lba32, count16, step.seed % 2 ? BlockFlags::kFua : std::uint8_t{0}), data); break;
      case 3: send_cdb(cdb_12(0xAE, lba32, count32, BlockFlags::kByteCheckEach), data); break;
      case 4: return send_write_same(step);
      case 5: return send_unmap(step);
      case 6: return send_compare_and_write(step);
      case 7: return send_get_lba_status(step);
      case 8:
        send_cdb(cdb_10(0x2F, lba32, count16, BlockFlags::kByteCheckEach), data).miscompare =
            data != model_.read(step.lba, step.count);
        break;
      case 9:
        send_cdb(cdb_16(0x8B, step.lba, count32), data);
        data = or_ed(std::move(data), model_.read(step.lba, step.count));
        break;
      default: send_cdb(cdb_10(0x35, lba32, count16)); break;
    }
    if (step.kind == 2 || step.kind == 3 || step.kind == 9) model_.write(step.lba, data);
  }

  void send_write_same(const Step& step) {
    auto block = blocks({.count = 1, .seed = step.seed});
    std::uint8_t flags = step.count % 2 ? BlockFlags::kUnmap : std::uint8_t{0};
    send_cdb(cdb_16(0x93, step.lba, static_cast<std::uint32_t>(step.count), flags), block);
    for (std::uint64_t i = 0; i < step.count; ++i) model_.write(step.lba + i, block);
    if (step.seed == 0 || flags != 0) model_.unmap(step.lba, step.count);
  }

  void send_unmap(const Step& step) {
    std::uint64_t second = (step.lba * 5 + 3) % kBlocks;
    auto list = unmap_list({{step.lba, static_cast<std::uint32_t>(step.count)}, {second, 1}});
    send_cdb(unmap_cdb(static_cast<std::uint16_t>(list.size())), list);
    model_.unmap(step.lba, step.count);
    model_.unmap(second, 1);
  }

  /// Compares with what is there, or with what may be.
  void send_compare_and_write(const Step& step) {
    auto there = model_.read(step.lba, step.count);
    auto compared = step.seed % 3 == 0 ? blocks({.count = step.count, .seed = step.seed + 1}) : there;
    auto written = blocks(step);
    auto both = compared;
    both.insert(both.end(), written.begin(), written.end());
    bool equal = compared == there;
    send_cdb(compare_and_write(step.lba, static_cast<std::uint8_t>(step.count)), both).miscompare = !equal;
    if (equal) model_.write(step.lba, written);
  }

  void send_get_lba_status(const Step& step) {
    Foretold& foretold = send_cdb(get_lba_status(step.lba, 8 + 16 * kBlocks));
    foretold.status_from = step.lba;
    foretold.mapped = model_.mapped();
    for (std::uint64_t lba = 0; lba < kBlocks; ++lba) foretold.zeros.push_back(model_.zeros(lba));
  }

  void check(const Foretold& foretold) const {
    const Command& command = *foretold.command;
    RC_ASSERT(command.completions == 1u);
    if (foretold.miscompare) {
      RC_ASSERT(
          command.failed_with(scsi::SenseKey::miscompare, scsi::AdditionalSense::miscompare_during_verify_operation));
      return;
    }
    RC_ASSERT(command.good());
    if (foretold.data) RC_ASSERT(command.data() == *foretold.data);
    if (foretold.status_from < kBlocks) check_status(foretold);
  }

  void check_status(const Foretold& foretold) const {
    auto data = foretold.command->data();
    base::ByteReader reader(data);
    reader.skip(sizeof(scsi::LbaStatusHeader));
    std::uint64_t lba = foretold.status_from;
    while (reader.remaining() > 0) {
      auto descriptor = reader.layout<scsi::LbaStatusDescriptor>();
      RC_ASSERT(descriptor.logical_block_address.value() == lba);
      bool mapped = descriptor.provisioning_status == scsi::LbaStatusDescriptor::kMapped;
      for (std::uint32_t i = 0; i < descriptor.number_of_logical_blocks; ++i, ++lba) {
        RC_ASSERT(lba < kBlocks);
        RC_ASSERT(mapped || foretold.zeros[lba]);
        if (exact_) RC_ASSERT(mapped == foretold.mapped[lba]);
      }
    }
    RC_ASSERT(lba == kBlocks);
  }

  Device device_{{.size_bytes = 4096}};
  bool exact_;
  Model model_;
  std::deque<Foretold> foretold_{};
};

template <typename MakeStore>
void check_against_model(MakeStore make_store, std::uint32_t block_length, bool exact, int steps_at_most = 100) {
  CHECK(rc::check([&] {
    const auto steps = *some_steps(steps_at_most);
    Run run(make_store(kBlocks * block_length), block_length, exact);
    for (const Step& step : steps) run.step(step);
    run.check();
  }));
}

std::unique_ptr<RamStore> ram_store(std::uint64_t size, bool blocking) {
  auto store = std::make_unique<RamStore>(size);
  store->blocking = blocking;
  return store;
}

}  // namespace

TEST_CASE("random block commands do to an array of bytes what they do to the model") {
  check_against_model([](std::uint64_t size) { return ram_store(size, false); }, 512, true);
}

TEST_CASE("random block commands whose work is done in any order seem to be done in arrival order") {
  check_against_model([](std::uint64_t size) { return ram_store(size, true); }, 512, true);
}

TEST_CASE("random block commands on a memory store do what they do to the model") {
  handlers::MemoryKind kind;
  check_against_model([&](std::uint64_t size) { return kind.make(size); }, 512, false);
  check_against_model([&](std::uint64_t size) { return kind.make(size); }, 4096, false);
}

TEST_CASE("random block commands on a file store do what they do to the model") {
  handlers::FileKind kind;
  check_against_model([&](std::uint64_t size) { return kind.make(size); }, 4096, false, 20);
}
