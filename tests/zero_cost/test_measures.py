import itertools
import math
import random

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from torch import nn

from archflow.benchmarks.nasbench201.network import representatives
from archflow.benchmarks.nasbench201.space import NASBench201
from archflow.benchmarks.network import Network
from archflow.benchmarks.networks import network
from archflow.zero_cost.measures import PROXIES, SUPERVISED, epe_nas, jacov, measure, nwot
from tests import shared_data
from tests.benchmarks.nasbench201.test_network import mapping
from tests.benchmarks.network_references import live, scattered
from tests.benchmarks.test_four_nodes import transplanted
from tests.zero_cost import references

SPACE = NASBench201()
CELL = [3, 2, 1, 4, 3, 2]  # every operation but "none"
DEAD_ENDS = [3, 2, 0, 1, 0, 0]  # two convolutions whose nodes are never read
WHOLE = ("params", "flops")
"""These also count operations that lead nowhere."""
cells = st.tuples(*[st.integers(0, 4)] * 6)


def of(*several):
    return SPACE.decode(np.array(several))


def operations(archs) -> list[list[int]]:
    return SPACE.encode(archs).tolist()


def small(cell, seed=0, **sizes: int) -> Network:
    """In float64, with random scales and shifts of norms, so that taking them for weights is noticed."""
    torch.manual_seed(seed)
    return scattered(network("nasbench201", of(cell), **({"width": 4, "depth": 1} | sizes)))


def batch(seed=0, images=6, size=8, classes=3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randn(images, 3, size, size, generator=generator, dtype=torch.float64)
    return pixels, torch.randint(classes, (images,), generator=generator)


def approximately(values, rel=1e-8):
    return pytest.approx(values, rel=rel, abs=1e-12)


# Values


@settings(max_examples=12)
@given(cells, st.integers(0, 2**32), st.sampled_from([8, 12]), st.integers(3, 6))
@example(CELL, 0, 8, 6)
@example(DEAD_ENDS, 0, 8, 5)
def test_values_equal_the_plain_versions(cell, seed, size, count):
    assume(live(cell))
    model, (images, labels) = small(cell, seed), batch(seed, count, size)
    rows = references.jacobian(model, images)
    expected = {
        "l2_norm": references.l2_norm(model),
        "grad_norm": references.grad_norm(model, images, labels),
        "snip": references.snip(model, images, labels),
        "plain": references.plain(model, images, labels),
        "fisher": references.fisher(model, cell, images, labels),
        "nwot": references.nwot(model, cell, images),
        "jacov": references.jacov(rows),
        "epe_nas": references.epe_nas(rows, labels),
        "synflow": references.synflow(model, cell, size),
        "zen": references.zen(model, cell, images, seed=7),
    }
    assert measure(model, images, labels, expected, seed=7) == approximately(expected)


@pytest.mark.parametrize("seed", range(8))
def test_grasp_is_how_the_gradient_changes_along_itself(seed):
    cell = CELL if seed == 0 else operations(SPACE.sample(1, seed))[0]
    model, (images, labels) = small(cell, seed), batch(seed)
    expected = references.grasp(model, images, labels)
    assert measure(model, images, labels, ["grasp"])["grasp"] == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_grasp_is_that_of_the_whole_hessian():
    cell = [0, 0, 0, 2, 0, 0]
    model, (images, labels) = small(cell, width=1, classes=3), batch(size=4, images=4)
    expected = references.grasp_of_hessian(model, cell, images, labels)
    assert measure(model, images, labels, ["grasp"])["grasp"] == approximately(expected)
    assert expected != 0


def test_values_in_float32_are_close_to_those_in_float64():
    model, (images, labels) = small(CELL), batch()
    expected = measure(model, images, labels, PROXIES)
    found = measure(model.float(), images.float(), labels, PROXIES)
    del expected["zen"], found["zen"]  # its random numbers differ
    assert found == pytest.approx(expected, rel=1e-3)
    assert {name: found[name] for name in (*WHOLE, "nwot")} == {name: expected[name] for name in (*WHOLE, "nwot")}


def test_epe_nas_of_more_than_100_classes_compares_them():
    rows = np.random.default_rng(0).standard_normal((303, 20))
    labels = np.arange(303) % 101
    means = []
    for each in range(101):
        within = rows[labels == each]
        means.append(np.log(np.abs(np.corrcoef(within)) + 1e-5).sum() / len(within))
    expected = sum(abs(one - other) for one in means for other in means) / 101
    assert epe_nas(rows, labels) == approximately(expected)


@given(st.integers(2, 6), st.integers(2, 12), st.integers(0, 2**32), st.sampled_from([1e-30, 1e-3, 1.0, 1e6]))
def test_correlations_ignore_the_size_of_gradients(count, length, seed, scale):
    rows = np.random.default_rng(seed).standard_normal((count, length))
    labels = np.arange(count) % 2
    assert jacov(scale * rows) == pytest.approx(jacov(rows), rel=1e-6)
    assert epe_nas(scale * rows, labels) == pytest.approx(epe_nas(rows, labels), rel=1e-6)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, -3e-7])
def test_rows_that_do_not_vary_count_as_all_alike(value):
    still, alike = np.full((4, 30), value), np.tile(np.arange(30.0), (4, 1))
    assert jacov(still) == approximately(jacov(alike))
    assert epe_nas(still, np.array([0, 0, 1, 1])) == approximately(epe_nas(alike, np.array([0, 0, 1, 1])))


def test_two_images_alike_have_no_determinant():
    images, labels = batch()
    images[3] = images[1]
    assert measure(small(CELL), images, labels, ["nwot"]) == {"nwot": -math.inf}
    assert nwot(torch.tensor([[5.0, 3.0], [3.0, 5.0]])) == approximately(math.log(16))


def test_too_few_rectifiers_for_so_many_images_have_no_determinant():
    codes = torch.tensor(list(itertools.product((0.0, 1.0), repeat=3)))  # all differ
    assert nwot(codes @ codes.T + (1 - codes) @ (1 - codes).T) == -math.inf


# Sizes


def test_parameters_and_flops_counted_by_hand():
    cell = SPACE.parse(["|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|nor_conv_1x1~1|none~2|"])
    # For each layer the numbers it makes, by what one of them costs: a rectifier 1, a norm 2, a pool its window.
    stem = 256 * 27 + 256 * 2
    first = 256 * (1 + 36 + 2) + 256 * (1 + 4 + 2) + 256 * 9
    halve_1 = 256 + 128 * (36 + 2) + 128 * (1 + 72 + 2) + 64 * 4 + 128 * 4
    second = 128 * (1 + 72 + 2) + 128 * (1 + 8 + 2) + 128 * 9
    halve_2 = 128 + 64 * (72 + 2) + 64 * (1 + 144 + 2) + 32 * 4 + 64 * 8
    third = 64 * (1 + 144 + 2) + 64 * (1 + 16 + 2) + 64 * 9
    head = 64 * (2 + 1) + 16 * 3 * 3 + 10 * 16
    flops = stem + first + halve_1 + second + halve_2 + third + head
    params = 4 * (27 + 2) + 4 * (36 + 2 + 4 + 2)
    params += 8 * (36 + 2 + 72 + 2 + 4) + 8 * (72 + 2 + 8 + 2)
    params += 16 * (72 + 2 + 144 + 2 + 8) + 16 * (144 + 2 + 16 + 2)
    params += 16 * 2 + 10 * (16 + 1)
    found = measure(network("nasbench201", cell, width=4, depth=1), *batch(), WHOLE)
    assert found == {"params": params, "flops": flops}


def test_parameters_and_flops_are_the_published_ones_in_every_digit():
    names = ["skip_connect", "none", "nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3"]
    rows = [row for row in shared_data.rows("nasbench201") if row["flops"]][::157]
    assert len(rows) == 61
    for row in rows:
        e01, e02, e03, e12, e13, e23 = (names[int(digit)] for digit in row["ops"])
        arch = SPACE.parse([f"|{e01}~0|+|{e02}~0|{e12}~1|+|{e03}~0|{e13}~1|{e23}~2|"])
        found = measure(network("nasbench201", arch), *batch(size=32), WHOLE)
        assert {name: f"{value / 1e6:.6g}" for name, value in found.items()} == {name: row[name] for name in WHOLE}


# Passes that are shared, and what is left behind


def test_a_proxy_alone_is_the_same_as_among_all():
    model, (images, labels) = small(CELL), batch()
    together = measure(model, images, labels, PROXIES)
    assert list(together) == list(PROXIES)
    for name in PROXIES:
        assert measure(model, images, labels, [name]) == approximately({name: together[name]}), name
    assert list(measure(model, images, labels, ["zen", "nwot", "zen"])) == ["zen", "nwot"]


@pytest.mark.parametrize("name", PROXIES)
def test_nothing_that_counts_is_changed(name):
    model, (images, labels) = small(CELL), batch()
    before = {key: value.clone() for key, value in model.named_parameters()}
    pixels, classes = images.clone(), labels.clone()
    first = measure(model, images, labels, [name])
    assert measure(model, images, labels, [name]) == first
    for key, value in model.named_parameters():
        assert torch.equal(value, before[key])
        assert value.grad is None
    assert hooks(model) == []
    assert torch.equal(images, pixels)
    assert not images.requires_grad
    assert torch.equal(labels, classes)


def test_nothing_depends_on_running_statistics_or_on_how_the_network_was_left():
    model, (images, labels) = small(CELL), batch()
    expected = measure(model, images, labels, PROXIES)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.uniform_(-1, 1)
            layer.running_var.uniform_(1, 9)
    model.eval().requires_grad_(False)
    assert measure(model, images, labels, PROXIES) == expected


def hooks(model: nn.Module) -> list:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return [hook for module in model.modules() for kind in kinds for hook in getattr(module, kind).values()]


@pytest.mark.parametrize("name", ["flops", "nwot", "fisher"])
def test_no_hooks_are_left_after_a_failure(name):
    model = small(CELL)
    model.classifier = nn.Linear(7, 3).double()  # there are 16 channels
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        measure(model, *batch(), [name])
    assert hooks(model) == []


def test_the_global_generators_are_untouched():
    model, (images, labels) = small(CELL), batch()
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # noqa: NPY002
    measure(model, images, labels, PROXIES)
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[2])


def test_zen_follows_its_seed_and_nothing_that_was_trained():
    images, labels = batch()
    zen = measure(small(CELL), images, labels, ["zen"], seed=3)
    assert measure(small(CELL, seed=1), images + 1, labels, ["zen"], seed=3) == zen
    assert measure(small(CELL), images, labels, ["zen"], seed=4) != zen


@settings(max_examples=10)
@given(cells, st.permutations(range(6)))
def test_the_order_of_images_does_not_matter(cell, order):
    assume(live(cell))
    model, (images, labels) = small(cell), batch()
    expected = measure(model, images, labels, PROXIES)
    assert measure(model, images[order], labels[order], PROXIES) == pytest.approx(expected, rel=1e-6, abs=1e-8)


def test_labels_matter_where_there_is_a_loss_or_a_class():
    model, (images, labels) = small(CELL), batch()
    one, other = (measure(model, images, each, PROXIES) for each in (labels, (labels + 1) * labels % 3))
    differ = {name for name in PROXIES if one[name] != other[name]}
    assert differ == SUPERVISED - {"nwot", "jacov"}


# Operations that lead nowhere


@pytest.mark.parametrize("cell", [[0] * 6, [0, 0, 0, 0, 0, 4], [0, 0, 1, 0, 1, 0]])
def test_a_cut_cell(cell):
    torch.manual_seed(0)
    model, (images, labels) = network("nasbench201", of(cell), width=4, depth=1).double(), batch()
    found = measure(model, images, labels, PROXIES)
    alike = np.tile(np.arange(9.0), (len(images), 1))
    assert found == approximately(
        {
            **dict.fromkeys(("grad_norm", "snip", "plain", "grasp"), 0),
            "fisher": references.fisher(model, cell, images, labels),  # of the classifier, whose bias is there
            **dict.fromkeys(("synflow", "nwot", "zen"), -math.inf),
            **{"jacov": jacov(alike), "epe_nas": epe_nas(alike, labels.numpy())},
            **{name: found[name] for name in (*WHOLE, "l2_norm")},
        }
    )


def test_a_cut_cell_ranks_last():
    images, labels = batch()
    names = ("grad_norm", "snip", "fisher", "synflow", "nwot", "zen", "jacov", "epe_nas")
    cut = measure(small([0] * 6), images, labels, names)
    for arch in operations(SPACE.sample(20, seed=1)):
        if live(arch):
            found = measure(small(arch), images, labels, names)
            assert not [name for name in names if found[name] <= cut[name]], arch


def test_what_leads_nowhere_has_no_gradient():
    names = sorted(SUPERVISED - {"nwot"} | {"synflow"})
    archs = SPACE.sample(400, seed=2)
    pairs = [pair for pair in zip(operations(archs), operations(representatives(archs)), strict=True) if live(pair[0])]
    differ = [pair for pair in pairs if pair[0] != pair[1]][:6]
    assert len(differ) == 6
    for one, other in differ:
        network, same = transplanted(SPACE, of(one), of(other), mapping(one, other), depth=1)
        found, expected = (measure(each, *batch(), names) for each in (network, same))
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-8), (one, other)


# Names


@pytest.mark.parametrize(
    ("names", "fault"),
    [
        (["flops", "flop"], "unknown proxy 'flop'"),
        (["a", "snip", "b"], "unknown proxy 'a, b'"),
        (["SNIP"], "unknown proxy 'SNIP'"),
        ([], "no proxy is named"),
    ],
)
def test_an_unknown_name_is_an_error_with_the_known_ones(names, fault):
    with pytest.raises(ValueError, match=f"^{fault}; known proxies: {', '.join(PROXIES)}$"):
        measure(small(CELL), *batch(), names)
