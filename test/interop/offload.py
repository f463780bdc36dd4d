"""POPULATE TOKEN, WRITE USING TOKEN and RECEIVE ROD TOKEN INFORMATION as bytes (SPC-4 6.14-6.26, SBC-4 5.21, 5.59)."""
import struct

ROD_TOKEN = 512
ZERO_TOKEN = bytes.fromhex("FFFF0001000001F8") + bytes(504)


def range_descriptors(ranges):
    return b"".join(struct.pack(">QII", lba, blocks, 0) for lba, blocks in ranges)


def populate_token(list_identifier, ranges, data_length=None):
    """The CDB and parameter list; `data_length` lies about POPULATE TOKEN DATA LENGTH."""
    descriptors = range_descriptors(ranges)
    length = data_length if data_length is not None else 14 + len(descriptors)
    data = struct.pack(">HBBIIHH", length, 0, 0, 0, 0, 0, len(descriptors)) + descriptors
    return third_party_copy_out(0x10, list_identifier, len(data)), data


def write_using_token(list_identifier, token, ranges, offset=0, descriptor_length=None):
    """The CDB and parameter list; `descriptor_length` lies about BLOCK DEVICE RANGE DESCRIPTOR LENGTH."""
    descriptors = range_descriptors(ranges)
    length = descriptor_length if descriptor_length is not None else len(descriptors)
    data = struct.pack(">HBBI", 534 + len(descriptors), 0, 0, 0) + struct.pack(">Q", offset) + token
    data += bytes(6) + struct.pack(">H", length) + descriptors
    return third_party_copy_out(0x11, list_identifier, len(data)), data


def extended_copy(source, destination, blocks=1, source_lba=0, destination_lba=0):
    """EXTENDED COPY(LID1) of one segment between CSCD descriptor IDs, without CSCD descriptors."""
    segment = struct.pack(">BBHHHHHQQ", 0x02, 0, 24, source, destination, 0, blocks, source_lba, destination_lba)
    data = struct.pack(">BBHIII", 1, 0, 0, 0, len(segment), 0) + segment
    return third_party_copy_out(0x00, 0, len(data)), data


def third_party_copy_out(service_action, list_identifier, length):
    return struct.pack(">BBIIIBB", 0x83, service_action, 0, list_identifier, length, 0, 0)


def receive_rod_token_information(list_identifier, length=1024):
    return struct.pack(">BBIIIBB", 0x84, 0x07, list_identifier, 0, length, 0, 0)


def token_of(session, lun, ranges, list_identifier=0x2A):
    """Populates a token and fetches it."""
    cdb, data = populate_token(list_identifier, ranges)
    answer = session.command(cdb, data_out=data, lun=lun)
    assert answer.status == 0, f"POPULATE TOKEN: {answer}"
    answer = session.command(receive_rod_token_information(list_identifier), data_in=1024, lun=lun)
    sense_length = answer.data[13]
    token = answer.data[32 + sense_length + 6:32 + sense_length + 6 + ROD_TOKEN]
    assert answer.status == 0 and len(token) == ROD_TOKEN, f"RECEIVE ROD TOKEN INFORMATION: {answer}"
    return token


def read16(lba, blocks):
    return struct.pack(">BBQIBB", 0x88, 0, lba, blocks, 0, 0)


def write16(lba, blocks):
    return struct.pack(">BBQIBB", 0x8A, 0, lba, blocks, 0, 0)
