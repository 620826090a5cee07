"""What the networks of every space promise."""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.overrides import TorchFunctionMode

import archflow
from archflow.archs.batch import ArchBatch
from archflow.benchmarks.network import Network
from archflow.benchmarks.networks import family, network, networks
from archflow.support.registry import register
from tests.benchmarks import network_references as references
from tests.benchmarks.network_references import arrays, each, live, parameters, scattered


class Case(NamedTuple):
    """What the networks of a space are.

    Attributes:
        reference: what they compute.
        special: architectures that are always looked at, as strings.
        widths, depths, sides: ranges in which networks are small and yet work.
        form: for a width and depth the channels of the last feature maps, how often it halves the image, and its cells.
        trained: width, depth and side of networks whose gradients do not vanish.
        convs: how the weights of convolutions are drawn: "uniform", as PyTorch does, or "he", by what leaves.
    """

    reference: Callable
    special: list[str]
    widths: tuple[int, int]
    depths: tuple[int, int]
    sides: tuple[int, int]
    form: Callable[[int, int], tuple[int, int, int]]
    trained: tuple[int, int, int]
    convs: str


def one_edge(options: int) -> np.ndarray:
    """Cells of four nodes with one operation or none, and some with several."""
    single = [[0] * edge + [number] + [0] * (5 - edge) for edge in range(6) for number in range(options)]
    return np.array([*single, [3] * 6, [1] * 6, [3, 2, 1, 1, 0, 3], [3, 0, 0, 0, 0, 2], [3, 0, 3, 0, 0, 0]])


def strings(space: str, choices) -> list[str]:
    return archflow.space(space).format(archflow.space(space).decode(np.array(choices)))


CONV3, CONV1, POOL = "conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3"
FOUR_BESIDE_EACH_OTHER = f"011110{'000001' * 4}000000:{CONV3},{CONV1},{POOL},{CONV3}"
CASES = {
    "nasbench101": Case(
        references.nasbench101,
        ["0100:", FOUR_BESIDE_EACH_OTHER, *(f"011001000:{name}" for name in (CONV3, CONV1, POOL))],
        *((4, 11), (1, 2), (5, 9)),
        lambda width, depth: (4 * width, 2, 3 * depth),
        (16, 1, 16),
        "he",
    ),
    "nasbench201": Case(
        references.nasbench201,
        [*strings("nasbench201", one_edge(5)), *strings("nasbench201", [[3, 2, 4, 2, 3, 1], [4] * 6])],
        *((3, 4), (1, 3), (4, 12)),
        lambda width, depth: (4 * width, 2, 3 * depth),
        (4, 2, 16),
        "uniform",
    ),
    "darts": Case(
        references.darts,
        [str((((0, number), (1, number)) * 4,) * 2) for number in range(7)],
        *((2, 3), (1, 5), (5, 11)),
        lambda width, depth: (4 * width * 2 ** min(depth, 2), min(depth, 2), depth),
        (4, 6, 16),
        "uniform",
    ),
    "transnas101-micro": Case(
        references.transnas101,
        strings("transnas101-micro", one_edge(4)),
        *((3, 4), (1, 3), (17, 40)),
        lambda width, depth: (width * 2 ** ((depth + 1) // 2), 2 + (depth + 1) // 2, 2 * depth),
        (4, 3, 64),
        "he",
    ),
}
EVERY = pytest.mark.parametrize("space", CASES)
FOUR_NODES = ("nasbench201", "transnas101-micro")
REORDERED = ("nasbench101", "darts")
"""Spaces in which the nodes of a graph may be numbered otherwise."""
SEEDS = st.integers(0, 2**32 - 1)


@functools.cache
def special(space: str) -> ArchBatch:
    return archflow.space(space).parse(CASES[space].special)


@functools.cache
def some(space: str) -> ArchBatch:
    """The special ones, others at random, and of NAS-Bench-101 the 91 of at most four vertices."""
    drawn = archflow.space(space).sample(40, seed=8)
    smallest = [archflow.space(space).enumerate()[:91]] if space == "nasbench101" else []
    return ArchBatch.concatenate([special(space), *smallest, drawn])


def drawn(space: str) -> st.SearchStrategy[ArchBatch]:
    """One of the special ones or any other."""
    known = some(space)
    return st.one_of(
        st.integers(0, len(known) - 1).map(lambda row: known[[row]]),
        SEEDS.map(lambda seed: archflow.space(space).sample(1, seed)),
    )


class NoDraws(TorchFunctionMode):
    """Leaves out the initial weights, which take most of the time where only shapes are asked for."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function.__name__ in ("normal_", "uniform_"):
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return function(*args, **kwargs)


def shapes(space: str, arch: ArchBatch, **sizes: int) -> Network:
    with NoDraws(), torch.device("meta"):
        return network(space, arch, **sizes)


def cell_of(space: str, arch: ArchBatch) -> list[int]:
    return archflow.space(space).encode(arch)[0].tolist()


def test_every_space_with_networks_is_here():
    assert networks() == sorted(CASES)


# Sizes and shapes


@EVERY
def test_parameters_are_those_in_closed_form(space):
    sizes = {"classes": 47} if space == "transnas101-micro" else {}
    archs = ArchBatch.concatenate([some(space), archflow.space(space).sample(60, seed=9)])
    built = [parameters(shapes(space, arch, **sizes)) for arch in each(archs)]
    assert built == archflow.space(space).parameters(archs).tolist()


@EVERY
@pytest.mark.parametrize(
    ("width", "depth", "classes"), [(None, None, None), (4, 1, 1), (7, 2, 100), (5, 3, 7), (6, 4, 3), (4, 11, 2)]
)
def test_shapes(space, width, depth, classes):
    its = family(space)
    channels, halvings, cells = CASES[space].form(width or its.width, depth or its.depth)
    for arch in each(special(space)[:2]):
        built = shapes(space, arch, width=width, depth=depth, classes=classes)
        assert isinstance(built, Network)
        assert sum(type(layer).__name__ == "Cell" for layer in built.modules()) == cells
        for sides in ((its.size, its.size), (100, 67), (31, 33), (12, 20), (7, 7), (1, 6), (1, 1)):
            images, last = torch.empty(2, 3, *sides, device="meta"), [math.ceil(side / 2**halvings) for side in sides]
            assert built.features(images).shape == (2, channels, *last)
        assert built(images).shape == (2, classes or its.classes)


@pytest.mark.parametrize("space", [space for space in CASES if space != "nasbench101"])
def test_a_single_channel_is_enough(space):
    for arch in each(special(space)):
        assert shapes(space, arch, width=2 if space == "darts" else 1, depth=1, classes=1)


# What they compute


def require_the_references_logits(space, arch, width, depth, sides, seed=0):
    torch.manual_seed(seed)
    built, images = scattered(network(space, arch, width=width, depth=depth, classes=3)), torch.randn(3, 3, *sides)
    expected = CASES[space].reference(arch, width, depth, arrays(built).values(), images.double().numpy())
    assert np.allclose(built(images.double()).detach().numpy(), expected, rtol=1e-6, atol=1e-6)
    if space not in FOUR_NODES or live(cell_of(space, arch)):
        assert np.ptp(expected, axis=0).min() > 1e-6


@EVERY
@settings(max_examples=30)
@given(data=st.data(), seed=SEEDS)
def test_they_compute_what_the_space_defines(space, data, seed):
    case = CASES[space]
    width, depth, height, tall = (
        data.draw(st.integers(*limits)) for limits in (case.widths, case.depths, case.sides, case.sides)
    )
    require_the_references_logits(space, data.draw(drawn(space)), width, depth, (height, tall), seed)


@EVERY
def test_special_architectures_compute_what_the_space_defines(space):
    case = CASES[space]
    for arch in each(special(space)):
        for width in (4, 5, 9) if space == "nasbench101" else (case.widths[0],):
            require_the_references_logits(
                space, arch, width, min(case.depths[1], 3), (case.sides[0] + 4, case.sides[1])
            )


@pytest.mark.parametrize("space", FOUR_NODES)
def test_a_disconnected_cell_makes_zeros(space):
    cut = [arch for arch in each(some(space)) if not live(cell_of(space, arch))]
    assert len(cut) > 20
    for arch in cut[::5]:
        built, images = network(space, arch, width=4, depth=5, classes=6), torch.randn(2, 3, 64, 64)
        features = built.features(images)
        assert features.shape == (2, CASES[space].form(4, 5)[0], *[64 // 2 ** CASES[space].form(4, 5)[1]] * 2)
        assert features.count_nonzero() == 0
        assert torch.equal(built(images), built.classifier.bias.expand(2, 6))


@EVERY
@settings(max_examples=25)
@given(data=st.data())
def test_gradients_reach_what_is_live_and_nothing_else(space, data):
    arch, (width, depth, side) = data.draw(drawn(space)), CASES[space].trained
    torch.manual_seed(0)
    built = network(space, arch, width=width, depth=depth, classes=3)
    built(torch.randn(8, 3, side, side)).pow(2).sum().backward()
    alive = live(cell_of(space, arch)) if space in FOUR_NODES else {"all"}
    for name, weights in built.named_parameters():
        reached = weights.grad is not None and weights.grad.abs().max().item() > (1e-6 if space == "darts" else 0)
        edge = name.split(".edges.")[1][:2] if ".edges." in name else ""
        if (int(edge[0]), int(edge[1])) in alive if edge else alive:
            # A shift before a norm has no effect.
            assert reached or (space == "darts" and weights.dim() == 1), name
        elif weights.dim() > 1:  # what reads only zeros still has a shift that may count
            assert not reached, name


# Initial weights


@EVERY
def test_initial_weights_follow_pytorchs_generator(space):
    def initial(seed):
        torch.manual_seed(seed)
        built = network(space, special(space)[[-1]], width=4, depth=1, classes=4)
        return torch.cat([weights.flatten() for weights in built.parameters()])

    assert torch.equal(initial(3), initial(3))
    assert not torch.equal(initial(3), initial(4))


@EVERY
def test_initial_weights_are_the_benchmarks(space):
    torch.manual_seed(0)
    row = {"nasbench101": 1, "nasbench201": -2, "darts": 3, "transnas101-micro": -3}[space]
    built = network(space, special(space)[[row]], width=64, depth=3)
    layers = [layer for layer in built.modules() if isinstance(layer, nn.Conv2d)]
    for layer in layers:
        count, inputs = layer.weight.numel(), layer.weight[0].numel()
        if CASES[space].convs == "he":  # normal, of variance 2 / outputs that read an input (He et al., ICCV 2015)
            deviation, tolerance = (
                math.sqrt(2 / (layer.out_channels * layer.kernel_size[0] ** 2)),
                5 / math.sqrt(2 * count),
            )
            assert layer.weight.abs().max() > 2 * deviation
        else:  # uniform, of variance 1 / (3 × inputs of an output)
            deviation, tolerance = 1 / math.sqrt(3 * inputs), 5 / math.sqrt(count)
            assert layer.weight.abs().max() <= 1 / math.sqrt(inputs)
        assert layer.weight.std().item() == pytest.approx(deviation, rel=tolerance)
        assert abs(layer.weight.mean().item()) < 5 * deviation / math.sqrt(count)
    assert len(layers) > 6
    for norm in (layer for layer in built.modules() if isinstance(layer, nn.BatchNorm2d)):
        assert (norm.eps, norm.momentum) == (1e-5, 0.1)
        if norm.affine:
            assert (norm.weight == 1).all()
            assert (norm.bias == 0).all()
    weight, bias = built.classifier.weight, built.classifier.bias
    if space == "nasbench101":
        assert weight.std().item() == pytest.approx(0.01, rel=5 / math.sqrt(2 * weight.numel()))
        assert weight.abs().max() > 0.02
        assert (bias == 0).all()
    else:
        bound = 1 / math.sqrt(built.classifier.in_features)
        assert 0.9 * bound < weight.abs().max() <= bound
        assert 0.5 * bound < bias.abs().max() <= bound


# Representatives


@EVERY
def test_representatives_do_not_depend_on_the_batch(space):
    archs, representatives = some(space)[::2], family(space).representatives
    together = representatives(archs)
    assert ArchBatch.concatenate([representatives(arch) for arch in each(archs)]) == together
    assert representatives(together) == together
    if space in REORDERED:
        assert together == archs


def reordered(space: str, arch: ArchBatch, rng: np.random.Generator) -> ArchBatch:
    """The same architecture as another graph."""
    names, edges = arch.graph(0)
    if space == "darts":  # the two operations of each node in the other order
        order = [cell + at for cell in (0, 11) for at in (0, 1, *(2 + (edge ^ 1) for edge in range(8)), 10)]
    else:
        order = rng.permutation(len(names)).tolist()
    moved = [""] * len(names)
    for node, place in enumerate(order):
        moved[place] = names[node]
    return ArchBatch.from_graphs([(moved, [(order[a], order[b]) for a, b in edges])], arch.vocabulary)


@pytest.mark.parametrize("space", REORDERED)
@settings(max_examples=20)
@given(data=st.data(), seed=SEEDS)
def test_the_order_of_nodes_does_not_matter(space, data, seed):
    arch = data.draw(drawn(space))
    other = reordered(space, arch, np.random.default_rng(seed))
    assert family(space).representatives(other) == family(space).representatives(arch) == arch
    torch.manual_seed(0)
    built, same = (network(space, form, width=8, depth=1, classes=3) for form in (arch, other))
    same.load_state_dict(built.state_dict())
    images = torch.randn(2, 3, 12, 12)
    assert torch.equal(built(images), same(images))


# What is refused


@EVERY
def test_other_architectures_and_impossible_sizes_are_refused(space):
    archs = archflow.space(space).sample(2)
    with pytest.raises(ValueError, match="a network is built from one architecture, not from 2"):
        network(space, archs)
    for wrong in ({"width": 0}, {"depth": 0}, {"classes": -1}):
        with pytest.raises(ValueError, match="width, depth and classes must be at least 1, not"):
            network(space, archs[[0]], **wrong)
    with pytest.raises(ValueError, match=f"of another space than {space}"):
        network(space, archflow.space("nasbench-graph").sample(1))


def test_a_space_without_networks():
    with pytest.raises(
        ValueError, match=r"has no networks for the space .nasbench999.; it has networks for: darts, nasbench1"
    ):
        network("nasbench999", archflow.space("darts").sample(1))


def test_networks_of_another_form_are_not_registered():
    with pytest.raises(ValueError, match="the networks of mine must be a NetworkFamily, not 3"):
        register("networks", "mine", 3)
    with pytest.raises(ValueError, match="archflow already has"):
        register("networks", "darts", family("darts"))
