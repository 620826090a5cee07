"""TransNAS-Bench-101 (Duan et al., CVPR 2021): backbones that were each trained on seven vision tasks.

Micro: 4,096 cells of four nodes; each of their six edges carries an operation. Every cell is repeated in the same
skeleton of five modules. Here the operations are the nodes of the graph, as in NAS-Bench-201: ``input``, one node for
each edge of the cell, ``output``. ``64-41414-1_02_333`` names 64 channels, the modules 41414, and the operations of the
edges 0→1; 0→2 1→2; 0→3 1→3 2→3.

Macro: 3,256 chains of 4 to 6 modules. A module is two basic blocks of ResNet, of which the first may double the
channels, halve the resolution, or both; a chain halves 1 to 4 times and doubles 1 to 3 times. ``64-1234-basic`` names
64 channels and the modules 1 (neither), 2 (doubles), 3 (halves) and 4 (both).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import product

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.four_nodes import CELL_EDGES, FourNodes
from archflow.benchmarks.nasbench201 import closed_form
from archflow.benchmarks.space import Decision, Space

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3")
"""The operations of a micro cell's edges, by the digits of its string."""
MODULES = ("normal", "double_channels", "halve_resolution", "double_and_halve")
"""The kinds of a macro network's modules; the digits of its string begin with 1."""

_CELLS = ((64, 128), *[(128, 128)] * 3, (128, 256), *[(256, 256)] * 3, (256, 512), (512, 512))
"""Channels in and out of the ten cells of the modules 41414; a cell that doubles them halves the resolution too."""
_STEM = 3 * 32 * 9 + 2 * 32 + 32 * 64 * 9 + 2 * 64
_SCENES = 47
"""Classes of the task class_scene."""
_SIZES_ELSEWHERE = (
    "the benchmark's own count depends on the tool that made it; the table {} has it in its columns <task>/model_FLOPs"
)


class TransNASMicro(FourNodes):
    """The space ``transnas101-micro``: 4,096 cells, as DAGs of 8 nodes over a vocabulary of 6.

    All its proxies but "parameters" are those of the same cell in NAS-Bench-201's network, whose operations and edges
    have the same numbers. That network has 15 cells rather than 10, and halves the resolution between cells rather than
    in some of them. The proxies are in closed form; see :mod:`archflow.benchmarks.nasbench201.closed_form`.
    """

    name = "transnas101-micro"
    vocabulary = ("input", *OPERATIONS, "output")
    proxies = ("parameters", *closed_form.PROXIES)
    sizes_elsewhere = _SIZES_ELSEWHERE.format(name)

    def format(self, archs: ArchBatch) -> list[str]:
        """Each cell as ``64-41414-1_02_333``."""
        return ["64-41414-{}_{}{}_{}{}{}".format(*cell) for cell in self.encode(archs).tolist()]

    def parse_one(self, string: str) -> list[int]:
        """The operations of the cell that a string denotes."""
        found = re.fullmatch("64-41414-([0-3])_([0-3]{2})_([0-3]{3})", string.strip())
        if not found:
            raise ValueError("a cell is written as 64-41414-a_bc_def, with digits from 0 to 3")
        return [int(digit) for digit in "".join(found.groups())]

    def parameters(self, archs: ArchBatch) -> Int[ndarray, " archs"]:
        """Trainable parameters of the network for the task class_scene, its linear head included.

        From 43,599 to 41,435,727. Edges that lead nowhere are counted, as the benchmark builds them.
        """
        total: Int[ndarray, " archs"] = _PARAMETERS[np.arange(6), self.encode(archs)].sum(axis=1)
        return total + _STEM + 512 * _SCENES + _SCENES

    def _proxies(self, names: Sequence[str], archs: ArchBatch) -> dict[str, Float[ndarray, " archs"]]:
        return closed_form.proxies(names, self.encode(archs))


class TransNASMacro(Space):
    """The space ``transnas101-macro``: 3,256 chains of 6 to 8 nodes over a vocabulary of 6.

    The choices are the kinds of up to six modules, as the digits of the string. Omitted modules come last in the result
    of :meth:`encode`, and may be anywhere in the argument of :meth:`decode`. The key of a network is its choices read
    as a number of six decimal digits: 123400 for 1234.
    """

    name = "transnas101-macro"
    vocabulary = ("input", *MODULES, "output")
    proxies = ("parameters",)
    sizes_elsewhere = _SIZES_ELSEWHERE.format(name)
    decisions = tuple(Decision(f"module {number}", ("left out", *MODULES)) for number in range(1, 7))
    size = 3_256

    def mutate(self, archs: ArchBatch, seed: int = 0) -> ArchBatch:
        """For each network, another one: a random module is changed, removed or inserted.

        A change that does not change the network, or that leaves the space, is drawn again.
        """
        rng = np.random.default_rng(seed)
        before = np.pad(self.encode(archs), ((0, 0), (0, 2)))
        columns = np.arange(7)  # one more than a network can have, so that a seventh module is noticed
        mutated, rest = before[:, columns], np.arange(len(before))
        while len(rest):
            change = rng.integers(-1, 2, size=len(rest))  # in the number of modules
            place = rng.integers((before[rest] > 0).sum(axis=1) + (change == 1))
            shifted = columns >= place[:, None]
            after = np.take_along_axis(before[rest], columns - change[:, None] * shifted, axis=1)
            kind = rng.integers(1, 5, size=len(rest))
            put = np.flatnonzero(change >= 0)
            after[put, place[put]] = kind[put]
            mutated[rest] = after
            rest = rest[~_is_macro(after) | (after == before[rest][:, columns]).all(axis=1)]
        return self.decode(mutated[:, :6])

    def format(self, archs: ArchBatch) -> list[str]:
        """Each network as ``64-1234-basic``."""
        return [f"64-{''.join(str(kind) for kind in row if kind)}-basic" for row in self.encode(archs).tolist()]

    def parse_one(self, string: str) -> list[int]:
        """The modules of the network that a string denotes, padded with zeros to six."""
        found = re.fullmatch("64-([1-4]{4,6})-basic", string.strip())
        if not found:
            raise ValueError("a network is written as 64-…-basic with 4 to 6 digits from 1 to 4, e.g. 64-1234-basic")
        modules = [int(digit) for digit in found[1].ljust(6, "0")]
        if not _is_macro(np.array([modules]))[0]:
            raise ValueError(_LIMITS)
        return modules

    def parameters(self, archs: ArchBatch) -> Int[ndarray, " archs"]:
        """Trainable parameters of the network for the task class_scene, its linear head included.

        From 995,023 to 40,175,951.
        """
        modules = self.encode(archs)
        channels = 64 << np.cumsum((modules == 2) | (modules == 4), axis=1)
        before = np.insert(channels[:, :-1], 0, 64, axis=1)
        norm = 2 * channels
        shortcut = np.where(modules > 1, before * channels + norm, 0)
        blocks = 9 * before * channels + 3 * 9 * channels**2 + 4 * norm + shortcut
        total: Int[ndarray, " archs"] = np.where(modules > 0, blocks, 0).sum(axis=1)
        return total + _STEM + channels[:, -1] * _SCENES + _SCENES

    def keys(self, archs: ArchBatch) -> Int[ndarray, " archs"]:
        """The choices of each network as one number of decimal digits.

        Raises:
            ValueError: see :meth:`encode`.
        """
        return self.encode(archs) @ _DIGITS

    def from_keys(self, keys: Int[ndarray, " archs"]) -> ArchBatch:
        """The inverse of :meth:`keys`, for keys of this space."""
        return self.decode(keys[:, None] // _DIGITS % 10)

    def encode(self, archs: ArchBatch) -> Int[ndarray, "archs 6"]:
        """The modules of each network as the digits of its string, padded with zeros to six; int64.

        Raises:
            ValueError: the batch has another vocabulary, or a graph is not a chain with its nodes in order, or is
                outside the space's limits.
        """
        archs.require_vocabulary(self.vocabulary, self.name)
        sizes, degrees, owners = np.diff(archs.node_offsets), np.diff(archs.edge_offsets), archs.owners
        wrong = (sizes < 6) | (sizes > 8) | (degrees != sizes - 1)
        from_start = np.arange(len(owners)) - archs.node_offsets[owners]
        expected_input, expected_output = from_start == 0, from_start == sizes[owners] - 1
        is_input, is_output = archs.operations == 0, archs.operations == 5
        wrong[owners[(is_input != expected_input) | (is_output != expected_output)]] = True
        reader = np.repeat(np.arange(len(archs)), degrees)
        link = np.arange(len(reader)) - archs.edge_offsets[reader]
        wrong[reader[(archs.edges != np.stack([link, link + 1])).any(axis=0)]] = True
        self._require(~wrong, "its nodes must be the input, 4 to 6 modules and the output, in a chain")
        modules, inner = np.zeros((len(archs), 6), dtype=np.int64), ~is_input & ~is_output
        modules[owners[inner], from_start[inner] - 1] = archs.operations[inner]
        self._require(_is_macro(modules), _LIMITS)
        return modules

    def _decode(self, choices: Int[ndarray, "archs 6"]) -> ArchBatch:
        modules = np.take_along_axis(choices, np.argsort(choices == 0, axis=1, kind="stable"), axis=1)
        self._require(_is_macro(modules), _LIMITS)
        lengths = (modules > 0).sum(axis=1)
        nodes = np.pad(modules, ((0, 0), (1, 1)))
        nodes[np.arange(len(nodes)), lengths + 1] = len(self.vocabulary) - 1
        columns = np.broadcast_to(np.arange(8), nodes.shape)
        is_node = columns <= lengths[:, None] + 1
        targets = columns[is_node & (columns > 0)]
        return ArchBatch(
            nodes[is_node],
            np.insert(np.cumsum(lengths + 2), 0, 0),
            np.stack([targets - 1, targets]),
            np.insert(np.cumsum(lengths + 1), 0, 0),
            self.vocabulary,
        )

    def _all_keys(self) -> Int[ndarray, " archs"]:
        return _MACRO_KEYS


_LIMITS = "a network must have 4 to 6 modules, halve the resolution 1 to 4 times and double the channels 1 to 3 times"


def _is_macro(modules: Int[ndarray, "archs n"]) -> Bool[ndarray, " archs"]:
    """Whether the digits, 0 where there is no module, form a network of the macro space."""
    present = modules > 0
    count, halved = present.sum(axis=1), (modules > 2).sum(axis=1)
    doubled = (present & (modules % 2 == 0)).sum(axis=1)
    without_gaps = (present[:, 1:] <= present[:, :-1]).all(axis=1)
    within = (count >= 4) & (count <= 6) & (halved >= 1) & (halved <= 4) & (doubled >= 1) & (doubled <= 3)
    result: Bool[ndarray, " archs"] = without_gaps & within
    return result


def _parameters_on_each_edge() -> Int[ndarray, "6 4"]:
    """Parameters of each operation on each edge, in all ten cells together."""
    parameters = np.zeros((6, len(OPERATIONS)), dtype=np.int64)
    for edge, (source, _) in enumerate(CELL_EDGES):
        for before, channels in _CELLS:
            entering = channels if source else before  # edges from the input change channels and resolution
            conv_1x1, conv_3x3 = (size * size * entering * channels + 2 * channels for size in (1, 3))
            # A skip that changes the shape is two 1x1 convolutions to half the channels each, and a batch norm.
            parameters[edge] += 0, conv_1x1 if entering != channels else 0, conv_1x1, conv_3x3
    return parameters


_PARAMETERS = _parameters_on_each_edge()
_DIGITS = 10 ** np.arange(6)[::-1]
_CODES = np.array(list(product(range(5), repeat=6)))
_MACRO_KEYS = _CODES[_is_macro(_CODES)] @ _DIGITS
"""The key of every macro network."""
