"""The notations in which NAS-Bench-101 cells are written."""

from __future__ import annotations

import json
import re
from math import isqrt
from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

_NASLIB_OPERATIONS = ("input", "output", "maxpool3x3", "conv1x1-bn-relu", "conv3x3-bn-relu")


def read_cell(string: str) -> tuple[UInt8[ndarray, "vertices vertices"], list[str]]:
    """Matrix and operations of a cell, as :meth:`.NASBench101.parse_one` takes it.

    Raises:
        ValueError: the string is malformed; the message says why.
    """
    text = string.strip()
    if text.startswith("{"):
        return _read_json(text)
    if re.fullmatch(r"\([0-9](, *[0-9])+\)", text):
        numbers = [int(digit) for digit in re.findall("[0-9]", text)]
        vertices = isqrt(len(numbers))
        if vertices * (vertices + 1) != len(numbers) or max(numbers[-vertices:]) >= len(_NASLIB_OPERATIONS):
            raise ValueError(
                f"a tuple holds V·V matrix entries and V operations of 0 … 4, not these {len(numbers)} numbers"
            )
        names = [_NASLIB_OPERATIONS[number] for number in numbers[-vertices:]]
        return np.array(numbers[:-vertices], np.uint8).reshape(vertices, vertices), names
    bits, separator, operations = text.partition(":")
    vertices = isqrt(len(bits))
    if not separator or vertices * vertices != len(bits):
        raise ValueError(
            "a cell is written as matrix:operations, e.g. 010001000:maxpool3x3, with the V·V entries of the matrix row "
            "by row, or as a JSON module spec, or as NASLib's tuple"
        )
    names = ["input", *operations.split(","), "output"] if operations else ["input", "output"]
    matrix = np.frombuffer(bits.encode("ascii", "replace"), np.uint8) - np.uint8(ord("0"))
    return matrix.reshape(vertices, vertices), names


def _read_json(text: str) -> tuple[UInt8[ndarray, "vertices vertices"], list[str]]:
    try:
        spec: dict[str, Any] = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("the module spec is not valid JSON") from None
    matrix, operations = spec.get("matrix"), spec.get("ops")
    if not (isinstance(operations, list) and all(isinstance(name, str) for name in operations)):
        raise ValueError('the module spec must have a list of operations, "ops"')
    if not (
        isinstance(matrix, list)
        and all(isinstance(row, list) and len(row) == len(matrix) for row in matrix)
        and all(entry in (0, 1) for row in matrix for entry in row)
    ):
        raise ValueError('the module spec must have a square "matrix" of 0 and 1')
    return np.array(matrix, np.uint8), operations
