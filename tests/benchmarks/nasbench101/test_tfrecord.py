import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archflow.benchmarks.nasbench101.tfrecord import masked_crc32c, records
from archflow.support.reading import Budget

BUDGET = Budget(10_000, 1_000)


def plain_crc32c(content: bytes) -> int:
    """Bit by bit, as the definition has it."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def plain_masked(content: bytes) -> int:
    crc = plain_crc32c(content)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32


def record(content: bytes) -> bytes:
    """A record as TensorFlow writes it."""
    length = struct.pack("<Q", len(content))
    return length + struct.pack("<I", plain_masked(length)) + content + struct.pack("<I", plain_masked(content))


def test_the_published_check_values_of_crc32c():
    """RFC 3720, B.4, and the usual check value of CRC catalogues."""
    for content, checksum in [
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ]:
        assert plain_crc32c(content) == checksum
        assert masked_crc32c(content) == plain_masked(content)


@given(st.binary(max_size=300))
def test_the_compiled_checksum_is_the_plain_one(content):
    assert masked_crc32c(content) == plain_masked(content)


@given(st.lists(st.binary(max_size=50), max_size=5))
def test_it_gives_back_what_was_written(tmp_path_factory, contents):
    path = tmp_path_factory.getbasetemp() / "some.tfrecord"
    path.write_bytes(b"".join(map(record, contents)))
    assert list(records(path, BUDGET)) == contents


def test_every_truncation_is_found(tmp_path):
    path = tmp_path / "some.tfrecord"
    whole = record(b"first") + record(b"the second")
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        if length in (0, len(record(b"first"))):
            assert len(list(records(path, BUDGET))) == bool(length)
            continue
        number = 1 + (length > len(record(b"first")))
        with pytest.raises(ValueError, match=rf"some\.tfrecord is truncated: it ends in .*record {number}"):
            list(records(path, BUDGET))


def test_every_changed_bit_is_found(tmp_path):
    path = tmp_path / "some.tfrecord"
    before, whole = record(b"first"), record(b"the second")
    for position in range(8 * len(whole)):
        changed = bytearray(whole)
        changed[position // 8] ^= 1 << position % 8
        path.write_bytes(before + changed)
        what = "wrong length checksum" if position < 96 else "wrong checksum"
        with pytest.raises(ValueError, match=rf"some\.tfrecord is damaged.*: record 2 has a {what}"):
            list(records(path, BUDGET))


def test_a_length_that_no_record_has(tmp_path):
    path = tmp_path / "some.tfrecord"
    length = struct.pack("<Q", 1 << 60)
    path.write_bytes(length + struct.pack("<I", plain_masked(length)) + b"x")
    with pytest.raises(ValueError, match=r"some\.tfrecord is damaged: record 1 claims 1,152,921,504,606,846,976 bytes"):
        list(records(path, BUDGET))


def test_another_file_and_none(tmp_path):
    path = tmp_path / "some.csv"
    path.write_text("arch,accuracy\na,1\n")
    with pytest.raises(ValueError, match=r"some\.csv is damaged or no TFRecord file: record 1"):
        list(records(path, BUDGET))
    with pytest.raises(FileNotFoundError, match="absent"):
        list(records(tmp_path / "absent.tfrecord", BUDGET))
