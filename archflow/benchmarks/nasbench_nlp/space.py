"""NAS-Bench-NLP (Klyuchnikov et al., 2020): cells of recurrent language models, written as recipes.

A recipe is a JSON object with a named node for each operation::

    {"f": {"op": "linear", "input": ["x", "h_prev_0"]}, "h_new_0": {"op": "activation_tanh", "input": ["f"]}}

A node reads other nodes, ``x`` (the word, or what the layer below gives), and ``h_prev_0 …`` (up to three hidden states
as the last word left them). The nodes ``h_new_0 …`` are the new hidden states; the first is the cell's output too.
A ``linear`` of up to three inputs has a weight matrix for each; it alone can read x, whose size is not that of the
hidden states. A ``blend`` of z, a, b is z·a + (1 − z)·b.

Here a cell is a graph with a node for each of these. A new hidden state is a node ``output_h_new_…`` that reads the
operation of that name. Edges have no order and are there once, so further nodes keep apart what must be: a ``blend``
reads z through a node ``blend_gate``, b through a node ``blend_rest`` and a directly; an operation that reads something
twice reads it a second time through a node ``repeat``.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter

import numpy as np
from jaxtyping import Bool, Float, Int, Integer, UInt64
from numpy import ndarray

from archflow.archs.batch import ArchBatch, Graph
from archflow.archs.neighbourhoods import scramble
from archflow.benchmarks.space import Space
from archflow.support.files import without_repetition

STATES = 3
"""How many hidden states a cell can have."""
INPUTS = ("x", *(f"h_prev_{state}" for state in range(STATES)))
ACTIVATIONS = ("activation_tanh", "activation_sigm", "activation_leaky_relu")
OPERATIONS = ("linear", "blend", "elementwise_prod", "elementwise_sum", *ACTIVATIONS)

_WIDTHS = dict(zip(OPERATIONS, ((1, 2, 3), (3,), (2,), (2,), (1,), (1,), (1,)), strict=True))
"""How many inputs each operation can have."""
_VOCABULARY = (
    *(f"input_{name}" for name in INPUTS),
    *OPERATIONS,
    *("blend_gate", "blend_rest", "repeat"),
    *(f"output_h_new_{state}" for state in range(STATES)),
)
_NUMBER = {name: number for number, name in enumerate(_VOCABULARY)}
_SWAPPED = np.array([_NUMBER[name.translate({ord("1"): "2", ord("2"): "1"})] for name in _VOCABULARY])
"""The vocabulary with the names of the second and the third hidden state exchanged."""

_NEW_STATE = re.compile(r"h_new_\d+")

_WORDS, _EMBEDDING, _HIDDEN = 10_000, 400, 600
_LAYERS = ((_EMBEDDING, _HIDDEN), (_HIDDEN, _HIDDEN), (_HIDDEN, _EMBEDDING))
"""The size of x and of the hidden states in the three layers of the Penn Treebank network."""

Recipe = dict[str, tuple[str, list[str]]]
"""For the name of each node its operation and inputs."""


class NASBenchNLP(Space):
    """The space ``nasbench-nlp``: recipes of at most three hidden states, as DAGs over a vocabulary of 17.

    Every input is read, and every operation leads to a new hidden state, as in all that the benchmark drew.
    """

    name = "nasbench-nlp"
    vocabulary = _VOCABULARY
    flow_defaults = (7, 0.1)
    size = None
    proxies = ("parameters",)

    def enumerate(self) -> ArchBatch:
        """Not possible.

        Raises:
            ValueError: always.
        """
        raise ValueError(f"{self.name} cannot be listed: nobody has counted its cells; draw a sample")

    def sample(self, n: int, seed: int = 0) -> ArchBatch:
        """``n`` different cells, as the benchmark drew its own: 1, 2 or 3 hidden states and 7, 14 or 21 further nodes.

        Nodes are added one by one, each an operation on random earlier ones; a linear one (half of them) is followed by
        an activation, and reads x, old hidden states and activations. Random nodes become the new hidden states, and
        what does not lead to them is dropped. A cell in which an input is not read, or in which a new hidden state
        reads an old one directly, is drawn again.

        Raises:
            ValueError: ``n`` is below 1.
        """
        if n < 1:
            raise ValueError(f"cannot draw {n} different architectures: at least 1 must be drawn")
        rng = random.Random(seed)
        drawn: dict[int, Graph] = {}
        while len(drawn) < n:
            recipes = (_random_recipe(rng) for _ in range(2 * (n - len(drawn))))
            graphs = [_graph(recipe) for recipe in recipes if recipe]
            if graphs:
                keys = self.keys(ArchBatch.from_graphs(graphs, self.vocabulary)).tolist()
                for key, graph in zip(keys, graphs, strict=True):
                    drawn.setdefault(key, graph)
        return ArchBatch.from_graphs(list(drawn.values())[:n], self.vocabulary)

    def mutate(self, archs: ArchBatch, seed: int = 0) -> ArchBatch:
        """Another cell for each: one operation, or one input of one, is changed at random.

        What then leads to no new hidden state is dropped. A change that leaves no cell of the space, or the same
        network, is drawn again.
        """
        rng = random.Random(seed)
        keys, recipes = self.keys(archs), self._recipes(archs)
        graphs: list[Graph] = [([], [])] * len(recipes)
        rest = np.arange(len(recipes))
        while len(rest):
            for row in rest:
                graphs[row] = _graph(_changed(recipes[row], rng))
            changed = self.keys(ArchBatch.from_graphs([graphs[row] for row in rest], self.vocabulary))
            rest = rest[changed == keys[rest]]
        return ArchBatch.from_graphs(graphs, self.vocabulary)

    def format(self, archs: ArchBatch) -> list[str]:
        """Each cell as a recipe; nodes that are no new hidden state are called n0, n1, … in their order."""
        return [
            json.dumps({name: {"op": operation, "input": inputs} for name, (operation, inputs) in recipe.items()})
            for recipe in self._recipes(archs)
        ]

    def parse(self, strings: Sequence[str], first_line: int = 1) -> ArchBatch:
        """The cells that the recipes denote; their nodes keep their order.

        Raises:
            ValueError: a recipe is malformed or not of this space; the message gives its line (the first is
                ``first_line``) and the reason.
        """
        graphs = []
        for row, string in enumerate(strings):
            try:
                graphs.append(recipe_graph(string))
            except ValueError as error:
                raise ValueError(f"line {first_line + row}: {error}, in {string!r:.80}") from None
        return ArchBatch.from_graphs(graphs, self.vocabulary)

    def parameters(self, archs: ArchBatch) -> Int[ndarray, " archs"]:
        """Trainable parameters of the Penn Treebank network (three layers, 10,000 words), exactly.

        A word more is 401 parameters more, as the embedding is used twice: the network of WikiText-2, which has 33,278
        words, is larger by 9,334,478.

        Raises:
            ValueError: see :meth:`keys`.
        """
        self._require_cells(archs)
        sources, targets = archs.operations[archs.edge_index]
        owner = np.repeat(np.arange(len(archs)), np.diff(archs.edge_offsets))
        linear, x = _NUMBER["linear"], _NUMBER["input_x"]
        # All that reads x are linear operations, and repeats that one such operation reads.
        of_x = np.bincount(owner[sources == x], minlength=len(archs))
        of_states = np.bincount(owner[targets == linear], minlength=len(archs)) - of_x
        biases = np.bincount(archs.owners[archs.operations == linear], minlength=len(archs))
        layers = [(of_x * inputs + of_states * hidden + biases) * hidden for inputs, hidden in _LAYERS]
        return np.sum(layers, axis=0) + _WORDS * (_EMBEDDING + 1)

    def flops(self, archs: ArchBatch) -> Int[ndarray, " archs"]:
        """Not known.

        Raises:
            ValueError: always.
        """
        raise ValueError(f"{self.name} has no closed form for flops: the benchmark does not count them")

    def proxy(self, name: str, archs: ArchBatch) -> Float[ndarray, " archs"]:
        """One of ``proxies`` for each cell.

        Raises:
            ValueError: the name is none of ``proxies``.
        """
        if name != "parameters":
            raise ValueError(f"unknown proxy '{name}' of {self.name}; known: {', '.join(self.proxies)}")
        return self.parameters(archs).astype(float)

    def keys(self, archs: ArchBatch) -> UInt64[ndarray, " archs"]:
        """A number of each network, the same in any batch, whatever its nodes are called and how they are ordered.

        Hidden states but the first may change places, too. Cells are told apart by Weisfeiler and Leman's refinement,
        along the edges and against them in turn, in 64 bits: among a million cells, two are taken for one with
        probability below 3e-8.

        Raises:
            ValueError: an architecture is not of this space; the message names its index.
        """
        self._require_cells(archs)
        return np.minimum(_refined(archs, archs.operations), _refined(archs, _SWAPPED[archs.operations]))

    def _recipes(self, archs: ArchBatch) -> list[Recipe]:
        self._require_cells(archs)
        return [_recipe(archs.graph(index)) for index in range(len(archs))]

    def _require_cells(self, archs: ArchBatch) -> None:
        """Raise ValueError unless all are graphs of recipes; the message names the first that is not."""
        archs.require_vocabulary(self.vocabulary, self.name)
        wrong = _misplaced(archs)
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
        if not right.all():
            raise ValueError(
                f"architecture {int(np.argmin(right))} is not of {self.name}: it must have x and its hidden states, "
                "from 0 on, once as inputs and once as outputs"
            )


def recipe_graph(string: str) -> Graph:
    """The graph of a recipe that is given as JSON.

    Raises:
        ValueError: it is malformed or not of this space; the message says why.
    """
    try:
        nodes = json.loads(string, object_pairs_hook=without_repetition)
    except (json.JSONDecodeError, RecursionError):
        raise ValueError("a recipe is JSON") from None
    if not isinstance(nodes, dict):
        raise ValueError("a recipe is a JSON object of nodes")
    recipe: Recipe = {}
    for name, node in nodes.items():
        if not isinstance(node, dict) or node.keys() != {"op", "input"}:
            raise ValueError(f'node {name!r} must be written as {{"op": …, "input": […]}}')
        operation, inputs = node["op"], node["input"]
        if not isinstance(operation, str) or operation not in OPERATIONS:
            raise ValueError(f"node {name!r} has the unknown operation {operation!r} (known: {', '.join(OPERATIONS)})")
        if not isinstance(inputs, list) or not all(isinstance(source, str) for source in inputs):
            raise ValueError(f"the inputs of node {name!r} must be a list of names")
        recipe[name] = operation, inputs
    _require_recipe(recipe)
    return _graph(recipe)


def _require_recipe(recipe: Recipe) -> None:
    """Raise ValueError unless the recipe is of the space; the message says why."""
    states = next(state for state in range(STATES + 1) if f"h_new_{state}" not in recipe)
    inputs = INPUTS[: 1 + states]
    if not states:
        raise ValueError("no node is h_new_0")
    for name, (operation, sources) in recipe.items():
        if re.fullmatch(r"x|h_prev_\d+", name):
            raise ValueError(f"node {name!r} has the name of an input")
        if _NEW_STATE.fullmatch(name) and name not in [f"h_new_{state}" for state in range(states)]:
            raise ValueError(f"node {name!r} is one too many: at most h_new_0 … h_new_{STATES - 1}, without gaps")
        if len(sources) not in _WIDTHS[operation]:
            widths = " or ".join(map(str, _WIDTHS[operation]))
            raise ValueError(f"node {name!r} has {len(sources)} inputs, but {operation} takes {widths}")
        for source in sources:
            if source not in recipe and source not in inputs:
                raise ValueError(f"node {name!r} reads {source!r}, which is not there")
            if source == "x" and operation != "linear":
                raise ValueError(f"node {name!r} ({operation}) reads x, which only a linear can")
    try:
        TopologicalSorter({name: sources for name, (_, sources) in recipe.items()}).prepare()
    except CycleError as error:
        raise ValueError(f"its nodes form a cycle: {' → '.join(map(repr, error.args[1]))}") from None
    read = {source for _, sources in recipe.values() for source in sources}
    for name in (*inputs, *recipe):
        if name not in read and not _NEW_STATE.fullmatch(name):
            raise ValueError(f"no node reads {name!r}")


def _graph(recipe: Recipe) -> Graph:
    """Inputs, then the operations in the recipe's order, each behind its further nodes, then outputs."""
    read = {source for _, sources in recipe.values() for source in sources}
    inputs = [name for name in INPUTS if name in read]
    operations = [f"input_{name}" for name in inputs]
    number = {name: place for place, name in enumerate(inputs)}
    for name, (operation, sources) in recipe.items():
        operations += ["blend_gate", "blend_rest"] if operation == "blend" else ["repeat"] * len(_again(sources))
        number[name] = len(operations)
        operations.append(operation)

    edges = []
    for name, (operation, sources) in recipe.items():
        node = number[name]
        if operation == "blend":
            gate, kept, rest = (number[source] for source in sources)
            edges += [(gate, node - 2), (rest, node - 1), (node - 2, node), (node - 1, node), (kept, node)]
        else:
            edges += [(number[source], node) for source in set(sources)]
            again = _again(sources)
            for repeat, source in enumerate(again, start=node - len(again)):
                edges += [(number[source], repeat), (repeat, node)]

    for state in range(STATES):
        if f"h_new_{state}" in recipe:
            edges.append((number[f"h_new_{state}"], len(operations)))
            operations.append(f"output_h_new_{state}")
    return operations, edges


def _again(sources: list[str]) -> list[str]:
    """What a list names again, once for each further time."""
    return [source for place, source in enumerate(sources) if source in sources[:place]]


def _recipe(graph: Graph) -> Recipe:
    """The inverse of :func:`_graph`, but for the names of nodes and the order of inputs that are alike."""
    operations, edges = graph
    sources: list[list[int]] = [[] for _ in operations]
    for source, target in edges:
        sources[target].append(source)
    inner = [node for node, operation in enumerate(operations) if operation in OPERATIONS]
    names = {node: f"n{place}" for place, node in enumerate(inner)}
    for node, operation in enumerate(operations):
        if operation.startswith("input_"):
            names[node] = operation.removeprefix("input_")
        elif operation.startswith("output_"):
            names[sources[node][0]] = operation.removeprefix("output_")

    recipe: Recipe = {}
    for node in inner:
        by_way = {operations[source]: source for source in sources[node]}
        if operations[node] == "blend":
            gate, rest = by_way.pop("blend_gate"), by_way.pop("blend_rest")
            (kept,) = by_way.values()
            inputs = [sources[gate][0], kept, sources[rest][0]]
        else:
            inputs = sorted(sources[one][0] if operations[one] == "repeat" else one for one in sources[node])
        recipe[names[node]] = operations[node], [names[one] for one in inputs]
    return recipe


def _misplaced(archs: ArchBatch) -> Bool[ndarray, " nodes"]:
    """Whether a node does not read, or is not read, as its operation has to be in the graph of a recipe."""
    nodes, (sources, targets) = archs.operations, archs.edge_index
    source, target = nodes[sources], nodes[targets]

    def each(ends: Int[ndarray, " edges"]) -> Int[ndarray, " nodes"]:
        return np.bincount(ends, minlength=len(nodes))

    reads, readers = each(targets), each(sources)
    wrong = (reads < _READS[0, nodes]) | (reads > _READS[1, nodes])
    wrong |= (readers < _READERS[0, nodes]) | (readers > _READERS[1, nodes])
    wrong |= each(targets[~_MAY_READ[source, target]]) > 0
    wrong |= each(sources[target >= _NUMBER["output_h_new_0"]]) > 1  # a node has one name
    for way in ("blend_gate", "blend_rest"):
        wrong |= (each(targets[source == _NUMBER[way]]) != 1) & (nodes == _NUMBER["blend"])
    # What is read again must be read: where a → repeat → b, there is a → b.
    read = np.full(len(nodes), -1)
    read[targets] = sources
    repeated = source == _NUMBER["repeat"]
    needed = read[sources[repeated]] * len(nodes) + targets[repeated]
    wrong |= each(sources[repeated][~np.isin(needed, sources * len(nodes) + targets)]) > 0
    return wrong


def _connections() -> tuple[Int[ndarray, "2 17"], Int[ndarray, "2 17"], Bool[ndarray, "17 17"]]:
    """Least and greatest number of inputs of each operation, and of readers; whether the second may read the first."""
    many = np.iinfo(np.int64).max
    reads, readers = np.ones((2, len(_VOCABULARY)), dtype=np.int64), np.ones((2, len(_VOCABULARY)), dtype=np.int64)
    may_read = np.zeros((len(_VOCABULARY),) * 2, dtype=bool)
    x, *states = (_NUMBER[f"input_{name}"] for name in INPUTS)
    inner = [_NUMBER[operation] for operation in OPERATIONS]
    gate, rest, repeat = (_NUMBER[way] for way in ("blend_gate", "blend_rest", "repeat"))
    outputs = range(_NUMBER["output_h_new_0"], len(_VOCABULARY))
    reads[:, [x, *states]] = 0
    reads[:, inner] = [[min(_WIDTHS[op]) for op in OPERATIONS], [max(_WIDTHS[op]) for op in OPERATIONS]]
    readers[1, [x, *states, *inner]] = many
    readers[:, outputs] = 0
    may_read[x, [_NUMBER["linear"], repeat]] = True
    may_read[np.ix_([*states, *inner], [*inner, gate, rest, repeat])] = True
    may_read[np.ix_(inner, outputs)] = True
    may_read[[gate, rest], _NUMBER["blend"]] = True
    may_read[repeat, [_NUMBER[name] for name in ("linear", "elementwise_prod", "elementwise_sum")]] = True
    return reads, readers, may_read


_READS, _READERS, _MAY_READ = _connections()


def _refined(archs: ArchBatch, operations: Integer[ndarray, " nodes"]) -> UInt64[ndarray, " archs"]:
    """A number of each graph that does not depend on the order of its nodes, nor on other graphs.

    Each pass goes through the whole graph: first a node's value becomes one of all that it is computed from, then of
    all that is computed from it besides, and so on.
    """
    sweep = archs.sweep
    values = operations[sweep.nodes].astype(np.uint64)
    for _ in range(3):
        for generations, lists in (
            (sweep.generations, sweep.predecessors),
            (sweep.generations[::-1], sweep.successors),
        ):
            told = np.empty_like(values)
            for rows, _ in generations:
                values[rows] = scramble(values[rows], 1) + lists.part(rows).sum(told)  # modulo 2^64
                told[rows] = scramble(values[rows], 2)
    scrambled = np.empty_like(values)
    scrambled[sweep.nodes] = scramble(values, 3)
    return np.add.reduceat(scrambled, archs.node_offsets[:-1])


def _random_recipe(rng: random.Random) -> Recipe | None:
    """A random cell as the benchmark draws them; None where it is not one that the benchmark keeps."""
    states, further = rng.choice((1, 2, 3)), rng.choice((7, 14, 21))
    inputs, old = INPUTS[: 1 + states], INPUTS[1 : 1 + states]
    recipe: Recipe = {}
    activated: list[str] = []
    while len(recipe) < states + further:
        name = f"n{len(recipe)}"
        operation = rng.choices(OPERATIONS[:4], (3, 1, 1, 1))[0]
        if operation == "linear":
            candidates = [*inputs, *activated]
            width = min(rng.choices((2, 3), (4, 1))[0], len(candidates))
            recipe[name] = operation, rng.sample(candidates, width)
            activated.append(f"n{len(recipe)}")
            recipe[activated[-1]] = rng.choice(ACTIVATIONS), [name]
        else:
            candidates, (width,) = [*old, *recipe], _WIDTHS[operation]
            if width <= len(candidates):
                recipe[name] = operation, rng.sample(candidates, width)

    new = {name: f"h_new_{state}" for state, name in enumerate(rng.sample(list(recipe), states))}
    recipe = {
        new.get(name, name): (operation, [new.get(source, source) for source in sources])
        for name, (operation, sources) in recipe.items()
    }
    recipe = _pruned(recipe)
    read = {source for _, sources in recipe.values() for source in sources}
    direct = any(set(recipe[name][1]) & set(old) for name in new.values())
    return None if direct or not read.issuperset(inputs) else recipe


def _changed(recipe: Recipe, rng: random.Random) -> Recipe:
    """The recipe with another operation or input at a random place, and without what then leads to no output."""
    while True:
        name = rng.choice(list(recipe))
        operation, sources = recipe[name]
        place = rng.randrange(len(sources) + 1)
        if place == len(sources):
            operation = rng.choice([other for other in OPERATIONS if len(sources) in _WIDTHS[other]])
        else:
            sources = [*sources[:place], rng.choice([*INPUTS, *recipe]), *sources[place + 1 :]]
        changed = _pruned({**recipe, name: (operation, sources)})
        try:
            _require_recipe(changed)
        except ValueError:
            continue
        return changed


def _pruned(recipe: Recipe) -> Recipe:
    """The nodes that lead to a new hidden state, in their order."""
    kept = [name for name in recipe if _NEW_STATE.fullmatch(name)]
    for name in kept:
        kept += {source for source in recipe[name][1] if source in recipe} - set(kept)
    return {name: node for name, node in recipe.items() if name in kept}
