"""What every space promises, for all of archflow's and two that only define their decisions."""

import re
import subprocess
import sys
from math import prod

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings

import archflow
from archflow.archs.batch import ArchBatch
from archflow.benchmarks import BENCHMARKS
from archflow.benchmarks.record import Published
from archflow.benchmarks.registry import published
from archflow.benchmarks.space import Decision, Space
from archflow.benchmarks.tables import SOURCES
from archflow.support.registry import register

from ..references import flow_surrogate

SIZES = {
    "darts": 1_076_746_950_455_072_400,
    "nasbench101": 423_624,
    "nasbench201": 15_625,
    "nasbench-asr": 8_242,
    "nasbench-graph": 26_206,
    "nasbench-graph-proteins": 2_021,
    "nasbench-macro": 6_561,
    "nasbench-nlp": None,
    "transnas101-macro": 3_256,
    "transnas101-micro": 4_096,
}


class Chain(Space):
    """A user's space: a chain of nodes, each with its own options. Everything else is inherited."""

    def __init__(self, name, *options):
        self.name = name
        self.options = options
        self.vocabulary = ("input", *(f"op{number}" for number in range(max(options))), "output")

    @property
    def decisions(self):
        return tuple(
            Decision(f"node {place}", self.vocabulary[1 : count + 1]) for place, count in enumerate(self.options)
        )

    def encode(self, archs):
        archs.require_vocabulary(self.vocabulary, self.name)
        return archs.operations.reshape(len(archs), -1)[:, 1:-1].astype(np.int64) - 1

    def _decode(self, choices):
        chain = [(node, node + 1) for node in range(len(self.options) + 1)]
        graphs = [(["input", *(f"op{choice}" for choice in row), "output"], chain) for row in choices.tolist()]
        return ArchBatch.from_graphs(graphs, self.vocabulary)


SMALL, LARGE = Chain("mine", 2, 5, 3, 4), Chain("mine-large", *[4] * 40)
SPACES = [*(archflow.space(name) for name in archflow.spaces()), SMALL, LARGE]
LISTED = [space for space in SPACES if space.size and space.size < 1e9]
DECIDED = [space for space in SPACES if space.decisions]
FREE = [space for space in DECIDED if prod(len(decision.options) for decision in space.decisions) == space.size]
"""Spaces in which every tuple of choices is a different architecture."""
CHANGED_ONCE = [space for space in FREE if space.name != "darts"]
"""Of these, those whose mutants differ in one decision: another source in DARTS may put the node's edges in order."""
SKELETONS = [space for space in CHANGED_ONCE if space not in (SMALL, LARGE)]
"""Of these, those whose architectures share their edges."""
MICRO_AND_MACRO = ("transnas101-micro", "transnas101-macro")


def over(spaces):
    return pytest.mark.parametrize("space", spaces, ids=lambda space: space.name)


EVERY = over(SPACES)
SOME_SEEDS = given(seed=st.integers(0, 2**32 - 1))


def assert_same(space, archs, others):
    assert np.array_equal(space.keys(archs), space.keys(others))
    assert space.format(archs) == space.format(others)


# Names, sizes, settings


def test_the_names_are_those_of_the_spaces():
    assert {name: archflow.space(name).size for name in archflow.spaces()} == SIZES
    assert [archflow.space(name).name for name in archflow.spaces()] == sorted(SIZES)


def test_a_space_of_ones_own_is_registered_and_archflows_are_not_replaced(monkeypatch):
    known = archflow.space.__globals__["SPACES"]
    monkeypatch.setitem(known, "mine", None)
    register("space", "mine", lambda: SMALL)
    assert archflow.space("mine") is SMALL
    assert published("mine") == Published()
    with pytest.raises(ValueError, match=r"^archflow already has a space 'darts'; choose another name$"):
        register("space", "darts", lambda: SMALL)
    for thing in (SMALL, int, "nasbench201"):
        with pytest.raises(ValueError, match=r"^the space mine must be a subclass of archflow\.Space, or a function"):
            register("space", "mine", thing)
    with pytest.raises(ValueError, match=r"^unknown space 'nope'; known spaces: darts, mine, nasbench-asr, "):
        archflow.space("nope")


def test_the_published_settings_of_each_space():
    tuned = {"k": 4, "std": 1.0, "hidden": 256, "finetune_epochs": 200, "max_pairs": 128}
    expected = {
        "nasbench101": Published(pool=7290, **tuned),
        "nasbench201": Published(pool=7813, proxies="measured/jacov"),
        "darts": Published(pool=5611, k=12, hidden=256, finetune_epochs=300, max_pairs=128, margin=0.1),
        "nasbench-graph": Published(proxies="cora/para"),
    }
    assert {name: published(name) for name in archflow.spaces()} == {
        name: expected.get(name, Published()) for name in archflow.spaces()
    }
    assert Published() == Published(None, 7, 0.1, "closed-form", 128, 500, None)


def test_a_record_names_only_its_own_spaces():
    for benchmark in BENCHMARKS:
        named = {source.space for source in benchmark.tables.values()} | set(benchmark.networks)
        assert (named | set(benchmark.published_apart)) <= set(benchmark.spaces)


def test_importing_the_benchmarks_imports_no_large_package_that_they_rarely_need():
    code = (
        "import sys, archflow.benchmarks.registry, archflow.benchmarks.tables, archflow.benchmarks.own_tables\n"
        "import archflow.benchmarks.networks\n"
        "print([name for name in ('polars', 'scipy.stats', 'torchvision', 'networkx') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# Listing, sampling, changing


@over(LISTED)
def test_enumerate_lists_every_network_once(space):
    archs = space.enumerate()
    keys = space.keys(archs)
    assert len(archs) == space.size == len(np.unique(keys))
    assert archs.vocabulary == space.vocabulary
    assert archs == space.enumerate() == space.from_keys(keys)
    if space.size < 50_000:
        strings = space.format(archs)
        assert len(set(strings)) == space.size
        assert space.parse(strings) == archs
        assert sorted(space.format(space.sample(space.size))) == sorted(strings)


@over([space for space in SPACES if space not in LISTED])
def test_what_cannot_be_listed_says_so(space):
    with pytest.raises(ValueError, match=rf"{space.name}.*listed.*sample"):
        space.enumerate()


@EVERY
@settings(max_examples=5)
@SOME_SEEDS
def test_samples(space, seed):
    archs = space.sample(40, seed)
    assert len(np.unique(space.keys(archs))) == len(archs) == 40
    assert archs == space.sample(40, seed)
    assert archs != space.sample(40, seed + 1)
    again = space.parse([f" {string}\n" for string in space.format(archs)])
    assert_same(space, again, archs)
    chosen = np.random.default_rng(seed).permutation(40)[:7]
    assert np.array_equal(space.keys(archs[chosen]), space.keys(archs)[chosen])
    for name in space.proxies:
        values = space.proxy(name, archs)
        assert values.shape == (40,)
        assert values.dtype == np.float64
        assert np.isfinite(values).all()
        assert np.array_equal(space.proxy(name, archs[chosen]), values[chosen])
    together = space.proxies_of(archs)
    assert tuple(together) == space.proxies
    assert all(np.array_equal(values, space.proxy(name, archs)) for name, values in together.items())


@EVERY
@settings(max_examples=5)
@SOME_SEEDS
def test_mutants(space, seed):
    archs = space.sample(40, seed)
    strings = space.format(archs)
    mutants = space.mutate(archs, seed)
    assert len(mutants) == 40
    assert (space.keys(mutants) != space.keys(archs)).all()
    assert mutants == space.mutate(archs, seed)
    assert mutants != space.mutate(archs, seed + 1)
    assert_same(space, space.parse(space.format(mutants)), mutants)
    assert space.format(archs) == strings
    if space in CHANGED_ONCE:
        assert ((space.encode(mutants) != space.encode(archs)).sum(axis=1) == 1).all()


@over(CHANGED_ONCE)
def test_mutate_prefers_no_decision_and_no_option(space):
    before = np.concatenate([space.encode(space.sample(min(space.size, 4_000), seed)) for seed in range(3)])
    after = space.encode(space.mutate(space.decode(before), seed=1))
    places = len(space.decisions)
    assert (before != after).sum(axis=0).min() > len(before) / places * 0.7
    for place, decision in enumerate(space.decisions):
        count = len(decision.options)
        changed = before[:, place] != after[:, place]
        pairs = np.bincount(before[changed, place] * count + after[changed, place], minlength=count**2)
        if changed.sum() > 40 * count**2:
            assert pairs.reshape(count, count)[~np.eye(count, dtype=bool)].min() > changed.sum() / count**2 * 0.6


@EVERY
def test_a_sample_has_at_least_one_architecture_and_at_most_all(space):
    for n in (0, -1, *([space.size + 1] if space.size else [])):
        reason = f"{space.name} has {space.size:,}" if space.size else "at least 1 must be drawn"
        with pytest.raises(ValueError, match=f"^cannot draw {n} different architectures: {reason}$"):
            space.sample(n)


# Decisions


@over(DECIDED)
@settings(max_examples=5)
@SOME_SEEDS
def test_choices_make_the_architectures_that_they_are_read_from(space, seed):
    archs = space.mutate(space.sample(40, seed), seed)
    choices = space.encode(archs)
    options = [len(decision.options) for decision in space.decisions]
    assert choices.shape == (40, len(options))
    assert choices.dtype == np.int64
    assert ((choices >= 0) & (choices < options)).all()
    assert_same(space, space.decode(choices), archs)
    assert np.array_equal(space.encode(space.decode(choices)), choices)
    assert_same(space, space.decode(choices.astype(np.int8)), archs)


@over(DECIDED)
@settings(max_examples=20)
@SOME_SEEDS
def test_any_choices_make_an_architecture_or_an_error_that_names_the_row(space, seed):
    options = [len(decision.options) for decision in space.decisions]
    choices = np.random.default_rng(seed).integers(options, size=(20, len(options)))
    for row in choices:
        refusal = None
        try:
            archs = space.decode(row[None])
        except ValueError as error:
            refusal = str(error)
        if refusal:
            assert space not in FREE
            with pytest.raises(ValueError, match=f"architecture 1 is not of {space.name}: "):
                space.decode(np.stack([space.encode(space.sample(1))[0], row]))
            continue
        canonical = space.encode(archs)
        assert_same(space, space.decode(canonical), archs)
        assert np.array_equal(space.encode(space.decode(canonical)), canonical)
    if space in FREE:
        assert np.array_equal(space.encode(space.decode(choices)), choices)


@over(DECIDED)
def test_every_option_is_chosen_somewhere(space):
    archs = space.sample(min(space.size, 3_000))
    if space in LISTED:
        archs = ArchBatch.concatenate([space.enumerate()[[0]], archs])
    choices = space.encode(archs)
    for column, decision in zip(choices.T, space.decisions, strict=True):
        assert len(set(decision.options)) == len(decision.options)
        chosen = np.unique(column).tolist()
        # A canonical encoding may leave options out: the first edge of NAS-Bench-101 is always present.
        assert chosen == list(range(len(decision.options))) if space in FREE else chosen, decision.name
    assert len({decision.name for decision in space.decisions}) == len(space.decisions)


@over(DECIDED)
def test_invalid_choices(space):
    choices = space.encode(space.sample(3))
    for wrong in (choices[:, 1:], choices[0], choices.astype(float), np.hstack([choices, choices])):
        with pytest.raises(ValueError, match=rf"^choices of {space.name} are whole numbers of shape \(architectures, "):
            space.decode(wrong)
    for place, decision in enumerate(space.decisions):
        for value in (-1, len(decision.options)):
            wrong = choices.copy()
            wrong[1, place] = value
            reason = f"the choice for {decision.name} must be from 0 to {len(decision.options) - 1}"
            with pytest.raises(ValueError, match=f"^architecture 1 is not of {space.name}: {reason}$"):
                space.decode(wrong)


@over([space for space in SPACES if space not in DECIDED])
def test_without_decisions_nothing_is_encoded(space):
    for call in (lambda: space.encode(space.sample(2)), lambda: space.decode(np.zeros((2, 3), np.int64))):
        with pytest.raises(ValueError, match=f"{space.name} are not made by a fixed number of decisions"):
            call()


# Strings


@EVERY
@settings(max_examples=20)
@given(data=st.data())
def test_any_other_text_is_an_error_with_its_line(space, data):
    string = space.format(space.sample(1))[0]
    cut = st.integers(0, len(string)).map(lambda place: string[:place] + string[place + 1 :])
    text = data.draw(st.text(sorted({*string, "²", "0", ","}), max_size=40) | cut)
    refusal = None
    try:
        archs = space.parse([text])
    except ValueError as error:
        refusal = str(error)
    if refusal is None:
        assert_same(space, space.parse(space.format(archs)), archs)
        return
    with pytest.raises(ValueError, match=r"\w") as caught:
        space.parse_one(text)
    reason = f"{caught.value}, in {text!r:.160}"
    assert refusal == f"line 1: {reason}"
    with pytest.raises(ValueError, match=f"^{re.escape(f'line 12: {reason}')}$"):
        space.parse([string, string, text], first_line=10)


@EVERY
def test_parse_needs_a_string(space):
    with pytest.raises(ValueError, match="empty"):
        space.parse([])


def test_the_strings_of_a_space_of_ones_own():
    assert SMALL.format(SMALL.enumerate()[[0, 119]]) == ["op0,op0,op0,op0", "op1,op4,op2,op3"]
    assert SMALL.keys(SMALL.parse(["op1,op4,op2,op3", "op0,op0,op1,op0"])).tolist() == [119, 4]
    with pytest.raises(ValueError, match=r"^line 1: an architecture is 4 options joined by ',', not 1, in 'op0'$"):
        SMALL.parse(["op0"])
    with pytest.raises(ValueError, match=r"^line 1: node 0 cannot be 'op3' \(known: op0, op1\), in 'op3,op0,op0,op0'$"):
        SMALL.parse(["op3,op0,op0,op0"])


# Sizes and proxies


@EVERY
def test_sizes_are_whole_numbers_or_the_error_says_where_they_are(space):
    archs = space.sample(9)
    for name in ("parameters", "flops"):
        if name in space.proxies:
            sizes = getattr(space, name)(archs)
            assert (sizes.shape, sizes.dtype) == ((9,), np.int64)
            assert (sizes > 0).all()
            assert np.array_equal(space.proxy(name, archs), sizes)
        elif (space.name, name) != ("nasbench201", "flops"):
            reason = re.escape(f"{space.name} has no closed form for {name}: {space.sizes_elsewhere}")
            with pytest.raises(ValueError, match=f"^{reason}$"):
                getattr(space, name)(archs)


@pytest.mark.parametrize("name", ["nasbench-asr", "nasbench-graph", "nasbench-graph-proteins", *MICRO_AND_MACRO])
def test_sizes_without_a_closed_form_are_in_a_column_of_a_table(name):
    found = re.search(r"the table (\S+) has .* in its columns? (<\w+>/)?\w+$", archflow.space(name).sizes_elsewhere)
    assert SOURCES[found[1]].space == name


@over(LISTED)
def test_the_docstrings_name_the_smallest_and_the_largest_network(space):
    archs = space.enumerate()
    for name in ("parameters", "flops"):
        method = getattr(space, name)
        if name in space.proxies or (space.name, name) == ("nasbench201", "flops"):
            sizes = method(archs)
            assert f"{sizes.min():,} to {sizes.max():,}" in method.__doc__


@EVERY
def test_an_unknown_proxy(space):
    known = f"unknown proxy 'luck' of {space.name}; known: {', '.join(space.proxies)}"
    with pytest.raises(ValueError, match=f"^{known if space.proxies else f'{space.name} has no closed form for luck'}"):
        space.proxy("luck", space.sample(3))


@EVERY
def test_architectures_of_another_space(space):
    other = archflow.space("nasbench201" if space.name != "nasbench201" else "nasbench-graph").sample(3)
    methods = [space.keys, space.format, space.mutate]
    methods += [getattr(space, name) for name in ("parameters", "flops") if name in space.proxies]
    for method in methods:
        with pytest.raises(ValueError, match=f"of another space than {space.name}"):
            method(other)


def corrupted(graph):
    """Graphs that differ from one of a space with a skeleton in an edge, in a node, or in what is input and output."""
    names, edges = graph
    inner, last = names[1], len(names) - 1
    yield from ((names, [other for other in edges if other != edge]) for edge in edges)
    missing = [(source, target) for target in range(last + 1) for source in range(target)]
    yield from ((names, [*edges, edge]) for edge in missing if edge not in edges)
    yield from ((names, [*edges[1:], edge]) for edge in missing if edge not in edges)
    for node in range(1, last):
        yield from (([*names[:node], name, *names[node + 1 :]], edges) for name in ("input", "output"))
    yield [*names[:-1], inner], edges
    yield ["output", *names[1:-1], "input"], edges
    yield names[::-1], [(target, source) for source, target in edges]
    yield [*names[:-1], inner, "output"], [*edges, (last, last + 1)]
    yield [*names[:-2], "output"], [edge for edge in edges if last not in edge]
    yield ["input", "output"], [(0, 1)]


@over(SKELETONS)
def test_graphs_without_the_skeleton_are_refused(space):
    good = space.sample(1).graph(0)
    for graph in corrupted(good):
        archs = ArchBatch.from_graphs([good, graph, good], space.vocabulary)
        for method in (space.encode, space.keys, space.format, space.mutate, space.parameters):
            with pytest.raises(ValueError, match=f"^architecture 1 is not of {space.name}: {space.form}$"):
                method(archs)
        assert len(space.format(archs[[0, 2]])) == 2


# What is built on spaces


@EVERY
def test_the_surrogate_is_that_of_the_equations(space):
    archs = space.sample(25, seed=3)
    known = published(space.name)
    draw = archflow.FlowDraw.sample(len(space.vocabulary), known.k, known.std, seed=1, dtype=torch.float64)
    graphs = [archs.graph(index) for index in range(len(archs))]
    expected = flow_surrogate(graphs, list(space.vocabulary), draw.r, draw.P, draw.W)
    torch.testing.assert_close(archflow.flow_surrogate(archs, draw), expected)


@EVERY
def test_pre_training_fine_tuning_and_ranking_run_unchanged(space):
    archs = space.sample(60, seed=1)
    proxy = np.stack([space.proxy(name, archs) for name in space.proxies], axis=1) if space.proxies else None
    encoder = archflow.encoder("resgatedgcn", space.vocabulary, hidden=16, layers=2)
    known = published(space.name)
    draw = archflow.FlowDraw.sample(len(space.vocabulary), known.k, known.std)
    losses = archflow.pretrain(encoder, archs, archflow.FGP(draw, proxy=proxy), epochs=6, device="cpu").losses
    assert losses["reconstruction"][-1] < losses["reconstruction"][0]
    accuracy = np.random.default_rng(0).normal(size=20)
    scores = archflow.Ranker(encoder, "finetune", epochs=3, device="cpu").fit(archs[:20], accuracy).predict(archs)
    assert scores.shape == (60,)
    assert len(np.unique(scores)) > 10
