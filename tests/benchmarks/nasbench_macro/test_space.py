import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.nasbench_macro.space import NASBenchMacro

SPACE = NASBenchMacro()
STRINGS = ["".join(digits) for digits in itertools.product("012", repeat=8)]


# What is in the space


def test_it_is_every_choice_of_eight_blocks_in_the_order_of_the_strings():
    assert SPACE.format(SPACE.enumerate()) == STRINGS


def test_a_network_is_a_chain():
    assert SPACE.vocabulary == ("input", "identity", "mb3_k3", "mb6_k5", "output")
    blocks = ["mb6_k5", "identity", "mb3_k3", "mb6_k5", "identity", "mb3_k3", "identity", "identity"]
    graph = ["input", *blocks, "output"], [(node, node + 1) for node in range(9)]
    assert SPACE.parse(["20120100"]).graph(0) == graph
    assert SPACE.format(ArchBatch.from_graphs([graph], SPACE.vocabulary)) == ["20120100"]


# Strings


@given(st.text("0123 ²", max_size=12).filter(lambda text: text.strip() not in STRINGS))
def test_any_other_text_is_refused(text):
    with pytest.raises(ValueError, match=r"^a network is written as 8 digits from 0 to 2$"):
        SPACE.parse_one(text)


# Sizes


@pytest.mark.parametrize(
    ("string", "params", "flops"),
    [
        ("02012100", 890_666, 47_327_744),
        ("11111221", 2_181_386, 65_012_224),
        ("10000011", 1_203_722, 24_932_864),
        ("00022000", 826_154, 35_336_704),
        ("20110010", 948_266, 35_074_560),
        ("22222200", 1_269_610, 79_266_304),
        ("22222202", 2_101_098, 92_463_616),
    ],
)
def test_sizes_are_those_of_the_published_table(string, params, flops):
    archs = SPACE.parse([string])
    assert SPACE.parameters(archs).tolist() == [params]
    assert SPACE.flops(archs).tolist() == [flops]


def sizes_of_layers(string: str) -> tuple[int, int]:
    """Parameters and multiply-accumulates of a network of PyTorch's own layers, a layer after the other."""
    layers, width, channels = [nn.Conv2d(3, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32)], 32, 32
    for place, digit in enumerate(string):
        before, stride = channels, 2 if place in (0, 2, 5) else 1
        channels *= stride
        if digit == "0":
            if stride == 2:
                layers += [nn.Conv2d(before, channels, 1, stride=2, bias=False), nn.BatchNorm2d(channels)]
            continue
        kernel, hidden = {"1": (3, 3 * before), "2": (5, 6 * before)}[digit]
        layers += [nn.Conv2d(before, hidden, 1, bias=False), nn.BatchNorm2d(hidden)]
        layers += [
            nn.Conv2d(hidden, hidden, kernel, stride, kernel // 2, groups=hidden, bias=False),
            nn.BatchNorm2d(hidden),
        ]
        layers += [nn.Conv2d(hidden, channels, 1, bias=False), nn.BatchNorm2d(channels)]
    layers += [nn.Conv2d(channels, 1280, 1, bias=False), nn.BatchNorm2d(1280)]
    classifier = nn.Linear(1280, 10)

    flops, image = classifier.weight.numel(), torch.empty(1, 3, width, width)
    for layer in layers:
        image = layer(image)
        if isinstance(layer, nn.Conv2d):
            flops += layer.weight.numel() * image.shape[-1] ** 2
    return sum(weights.numel() for layer in (*layers, classifier) for weights in layer.parameters()), flops


def test_sizes_are_those_of_a_network_of_layers():
    single = ["0" * place + digit + "0" * (7 - place) for place in range(8) for digit in "012"]
    archs = SPACE.parse([*single, *SPACE.format(SPACE.sample(15, seed=1))])
    with torch.device("meta"):
        expected = [sizes_of_layers(string) for string in SPACE.format(archs)]
    sizes = zip(SPACE.parameters(archs).tolist(), SPACE.flops(archs).tolist(), strict=True)
    assert list(sizes) == expected
