"""Recipes of NAS-Bench-NLP's cells: parsing, checks, sampling, mutation, and the graphs described in :mod:`.space`."""

from __future__ import annotations

import json
import random
import re
from graphlib import CycleError, TopologicalSorter

from archflow.archs.batch import Graph
from archflow.support.files import without_repetition

STATES = 3
"""The most hidden states that a cell can have."""
INPUTS = ("x", *(f"h_prev_{state}" for state in range(STATES)))
ACTIVATIONS = ("activation_tanh", "activation_sigm", "activation_leaky_relu")
OPERATIONS = ("linear", "blend", "elementwise_prod", "elementwise_sum", *ACTIVATIONS)
WIDTHS = dict(zip(OPERATIONS, ((1, 2, 3), (3,), (2,), (2,), (1,), (1,), (1,)), strict=True))
"""The possible numbers of inputs of each operation."""

_NEW_STATE = re.compile(r"h_new_\d+")

Recipe = dict[str, tuple[str, list[str]]]
"""The operation and the inputs of each node, by its name."""


def read_recipe(string: str) -> Recipe:
    """Read a recipe from JSON.

    Raises:
        ValueError: the recipe is malformed or not of this space; the message says why.
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
    _require_valid(recipe)
    return recipe


def _require_valid(recipe: Recipe) -> None:
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
        if len(sources) not in WIDTHS[operation]:
            widths = " or ".join(map(str, WIDTHS[operation]))
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


def to_graph(recipe: Recipe) -> Graph:
    """Its nodes are the inputs, the operations in the recipe's order, each after its additional nodes, the outputs."""
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
    """The repeated entries of a list, once for each repetition."""
    return [source for place, source in enumerate(sources) if source in sources[:place]]


def from_graph(graph: Graph) -> Recipe:
    """The inverse of :func:`to_graph`, up to the names of nodes and the order of interchangeable inputs."""
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


def random_recipe(rng: random.Random) -> Recipe | None:
    """A random cell, drawn as in the benchmark; None where the benchmark would discard it."""
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
            candidates, (width,) = [*old, *recipe], WIDTHS[operation]
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


def changed_recipe(recipe: Recipe, rng: random.Random) -> Recipe:
    """The recipe with another operation or input at a random place, without the nodes that then lead to no output."""
    while True:
        name = rng.choice(list(recipe))
        operation, sources = recipe[name]
        place = rng.randrange(len(sources) + 1)
        if place == len(sources):
            operation = rng.choice([other for other in OPERATIONS if len(sources) in WIDTHS[other]])
        else:
            sources = [*sources[:place], rng.choice([*INPUTS, *recipe]), *sources[place + 1 :]]
        changed = _pruned({**recipe, name: (operation, sources)})
        try:
            _require_valid(changed)
        except ValueError:
            continue
        return changed


def _pruned(recipe: Recipe) -> Recipe:
    """The nodes that lead to a new hidden state, in their order."""
    kept = [name for name in recipe if _NEW_STATE.fullmatch(name)]
    for name in kept:
        kept += {source for source in recipe[name][1] if source in recipe} - set(kept)
    return {name: node for name, node in recipe.items() if name in kept}
