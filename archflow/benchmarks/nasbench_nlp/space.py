"""NAS-Bench-NLP (Klyuchnikov et al., 2020): cells of recurrent language models, written as recipes.

A recipe is a JSON object with a named node for each operation::

    {"f": {"op": "linear", "input": ["x", "h_prev_0"]}, "h_new_0": {"op": "activation_tanh", "input": ["f"]}}

A node reads other nodes, ``x`` (the word, or the output of the layer below), and ``h_prev_0 …`` (up to three hidden
states after the previous word). The nodes ``h_new_0 …`` are the new hidden states; the first is also the cell's output.
A ``linear`` of up to three inputs has a weight matrix for each; it alone can read x, whose size differs from that of
the hidden states. A ``blend`` of z, a, b is z·a + (1 − z)·b.

Here a cell is a graph with a node for each of these. A new hidden state is a node ``output_h_new_…`` that reads the
operation of that name. Edges have no order and cannot be repeated, so additional nodes mark the differences: a
``blend`` reads z through a node ``blend_gate``, b through a node ``blend_rest`` and a directly; an operation that reads
something twice reads it the second time through a node ``repeat``.
"""

from __future__ import annotations

import json
import random

import numpy as np
from jaxtyping import Int, UInt64
from numpy import ndarray

from archflow.archs.batch import ArchBatch, Graph
from archflow.benchmarks.nasbench_nlp.graphs import NUMBER, VOCABULARY, misplaced, refined
from archflow.benchmarks.nasbench_nlp.recipes import (
    STATES,
    Recipe,
    changed_recipe,
    from_graph,
    random_recipe,
    read_recipe,
    to_graph,
)
from archflow.benchmarks.space import Space

_SWAPPED = np.array([NUMBER[name.translate({ord("1"): "2", ord("2"): "1"})] for name in VOCABULARY])
"""The vocabulary with the names of the second and the third hidden state exchanged."""

_WORDS, _EMBEDDING, _HIDDEN = 10_000, 400, 600
_LAYERS = ((_EMBEDDING, _HIDDEN), (_HIDDEN, _HIDDEN), (_HIDDEN, _EMBEDDING))
"""The size of x and of the hidden states in the three layers of the Penn Treebank network."""


class NASBenchNLP(Space):
    """The space ``nasbench-nlp``: recipes of at most three hidden states, as DAGs over a vocabulary of 17.

    Every input is read, and every operation leads to a new hidden state, as in all cells that the benchmark drew. The
    number of nodes varies, so a recipe has no fixed number of decisions.
    """

    name = "nasbench-nlp"
    vocabulary = VOCABULARY
    proxies = ("parameters",)
    sizes_elsewhere = "the benchmark does not count them"

    def mutate(self, archs: ArchBatch, seed: int = 0) -> ArchBatch:
        """For each cell, another one: a random operation, or a random input of one, is changed.

        Nodes that then lead to no new hidden state are dropped. A change that does not change the network, or that
        leaves the space, is drawn again.
        """
        rng = random.Random(seed)
        keys, recipes = self.keys(archs), self._recipes(archs)
        graphs: list[Graph] = [([], [])] * len(recipes)
        rest = np.arange(len(recipes))
        while len(rest):
            for row in rest:
                graphs[row] = to_graph(changed_recipe(recipes[row], rng))
            changed = self.keys(self._from_parsed([graphs[row] for row in rest]))
            rest = rest[changed == keys[rest]]
        return self._from_parsed(graphs)

    def format(self, archs: ArchBatch) -> list[str]:
        """Each cell as a recipe; nodes other than the new hidden states are named n0, n1, … in their order."""
        return [
            json.dumps({name: {"op": operation, "input": inputs} for name, (operation, inputs) in recipe.items()})
            for recipe in self._recipes(archs)
        ]

    def parse_one(self, string: str) -> Graph:
        """The graph of a recipe in JSON; its nodes keep their order.

        Raises:
            ValueError: the recipe is malformed or not of this space; the message is the reason.
        """
        return to_graph(read_recipe(string))

    def parameters(self, archs: ArchBatch) -> Int[ndarray, " archs"]:
        """Trainable parameters of the Penn Treebank network (three layers, 10,000 words), exactly.

        Each further word adds 401 parameters, as input and output share the embedding: the network for WikiText-2,
        which has 33,278 words, is larger by 9,334,478.

        Raises:
            ValueError: see :meth:`keys`.
        """
        self._require_cells(archs)
        sources, targets = archs.operations[archs.edge_index]
        owner = np.repeat(np.arange(len(archs)), np.diff(archs.edge_offsets))
        linear, x = NUMBER["linear"], NUMBER["input_x"]
        # Only linear operations read x, and repeats that one such operation reads.
        of_x = np.bincount(owner[sources == x], minlength=len(archs))
        of_states = np.bincount(owner[targets == linear], minlength=len(archs)) - of_x
        biases = np.bincount(archs.owners[archs.operations == linear], minlength=len(archs))
        layers = [(of_x * inputs + of_states * hidden + biases) * hidden for inputs, hidden in _LAYERS]
        return np.sum(layers, axis=0) + _WORDS * (_EMBEDDING + 1)

    def keys(self, archs: ArchBatch) -> UInt64[ndarray, " archs"]:
        """A number for each network, independent of the batch and of the names and the order of its nodes.

        Hidden states other than the first may also be exchanged. The number is that of Weisfeiler–Leman refinement,
        alternately along and against the edges, in 64 bits: among a million cells, two different ones share a number
        with probability below 3e-8.

        Raises:
            ValueError: an architecture is not of this space; the message names its index.
        """
        self._require_cells(archs)
        return np.minimum(refined(archs, archs.operations), refined(archs, _SWAPPED[archs.operations]))

    def _sample(self, n: int, seed: int) -> ArchBatch:
        """As the benchmark drew its cells: 1, 2 or 3 hidden states and 7, 14 or 21 further nodes.

        Nodes are added one by one, each an operation on random earlier ones; a linear one (half of them) is followed by
        an activation, and reads x, old hidden states and activations. Random nodes become the new hidden states, and
        what does not lead to them is dropped. A cell in which an input is not read, or in which a new hidden state
        reads an old one directly, is drawn again.
        """
        rng = random.Random(seed)
        drawn: dict[int, Graph] = {}
        while len(drawn) < n:
            recipes = (random_recipe(rng) for _ in range(2 * (n - len(drawn))))
            graphs = [to_graph(recipe) for recipe in recipes if recipe]
            if graphs:
                for key, graph in zip(self.keys(self._from_parsed(graphs)).tolist(), graphs, strict=True):
                    drawn.setdefault(key, graph)
        return self._from_parsed(list(drawn.values())[:n])

    def _from_parsed(self, parsed: list[Graph]) -> ArchBatch:
        return ArchBatch.from_graphs(parsed, self.vocabulary)

    def _recipes(self, archs: ArchBatch) -> list[Recipe]:
        self._require_cells(archs)
        return [from_graph(archs.graph(index)) for index in range(len(archs))]

    def _require_cells(self, archs: ArchBatch) -> None:
        """Raise ValueError unless all are graphs of recipes; the message gives the index of the first that is not."""
        archs.require_vocabulary(self.vocabulary, self.name)
        wrong = misplaced(archs)
        if wrong.any():
            node = int(np.argmax(wrong))
            arch = int(archs.owners[node])
            raise ValueError(
                f"architecture {arch} is not of {self.name}: its node {node - archs.node_offsets[arch]}, "
                f"{self.vocabulary[archs.operations[node]]}, is not connected as in the graph of a recipe"
            )
        cells = archs.owners * len(self.vocabulary) + archs.operations
        counts = np.bincount(cells, minlength=len(archs) * len(self.vocabulary)).reshape(len(archs), -1)
        old, new = counts[:, 1 : 1 + STATES], counts[:, -STATES:]
        right = (counts[:, 0] == 1) & (old == new).all(axis=1) & (new[:, 0] == 1) & (np.diff(new) <= 0).all(axis=1)
        self._require(right, "it must have x and its hidden states, from 0 on, once as inputs and once as outputs")
