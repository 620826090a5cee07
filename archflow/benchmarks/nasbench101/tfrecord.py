"""TFRecord files: TensorFlow's sequences of byte strings, each with its length and two checksums.

A record is its length (8 bytes, little-endian), the checksum of these 8 bytes (4), its content, and the checksum of
that (4). A checksum is the CRC-32C (Castagnoli) of the bytes, rotated right by 15 bits, plus 0xA282EAD8.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from numba import njit
from numpy import ndarray

from archflow.support.reading import Budget, open_regular


def records(path: Path, budget: Budget) -> Iterator[bytes]:
    """The contents of the file's records, one after the other, each of which may have ``budget.each`` bytes.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no regular file or too large, a record is too long, a checksum is wrong, or the file ends
            within a record; the message numbers the record, from 1.
    """
    with open_regular(path, budget.whole) as file:
        number = 1
        while head := file.read(12):
            if len(head) < 12:
                raise ValueError(f"{path} is truncated: it ends in the length of record {number:,}")
            if masked_crc32c(head[:8]) != int.from_bytes(head[8:], "little"):
                raise ValueError(
                    f"{path} is damaged or no TFRecord file: record {number:,} has a wrong length checksum"
                )
            length = int.from_bytes(head[:8], "little")
            if length > budget.file:
                raise ValueError(
                    f"{path} is damaged: record {number:,} claims {length:,} bytes, and none has more than "
                    f"{budget.file:,}"
                )
            content = file.read(length)
            checksum = file.read(4)
            if len(checksum) < 4:
                raise ValueError(f"{path} is truncated: it ends in record {number:,}")
            if masked_crc32c(content) != int.from_bytes(checksum, "little"):
                raise ValueError(f"{path} is damaged: record {number:,} has a wrong checksum")
            yield content
            number += 1


def masked_crc32c(content: bytes) -> int:
    """The checksum of the bytes as TFRecord files hold it."""
    crc = int(_crc32c(np.frombuffer(content, np.uint8)))
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _remainders() -> ndarray:
    """What each byte contributes to the checksum: the remainder of a division by Castagnoli's polynomial."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, table >> 1 ^ 0x82F63B78, table >> 1)
    return table


_REMAINDERS = _remainders()


@njit(cache=True)
def _crc32c(content: UInt8[ndarray, " bytes"]) -> np.uint32:
    crc = np.uint32(0xFFFFFFFF)
    for byte in content:
        crc = crc >> np.uint32(8) ^ _REMAINDERS[(crc ^ byte) & np.uint32(0xFF)]
    return crc ^ np.uint32(0xFFFFFFFF)
