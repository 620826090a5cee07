"""Architectures of PyTorch modules, exported programs and ONNX files."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn import functional as F

from archflow.archs.batch import ArchBatch
from archflow.archs.kinds import OTHER
from archflow.archs.recorded import recorded

IMAGE = torch.zeros(1, 3, 8, 8)


class Block(nn.Module):
    """One of each: norms, in-place activations, a residual, squeeze and excitation, groups, dead ends."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 5, padding=2, groups=8)
        self.grouped = nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=2)
        self.squeeze = nn.Conv2d(8, 8, 1)
        self.scale = nn.Parameter(torch.ones(1))
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = F.relu(self.norm(self.stem(x)), inplace=True)
        y = self.grouped(F.silu(self.depthwise(x))) * self.scale
        torch.tanh(y)  # leads nowhere
        y = y * torch.sigmoid(self.squeeze(F.adaptive_avg_pool2d(y, 1)))
        x += y
        x = F.max_pool2d(F.dropout(x, 0.5, self.training), 2)
        return self.head(x.mean((2, 3)).view(x.shape[0], -1))


NAMES = [
    *("input", "conv3x3/2", "relu", "dwconv5x5", "silu", "conv3x3g2d2", "globalpool", "conv1x1", "sigmoid", "mul"),
    *("add", "maxpool2x2/2", "globalpool", "linear", "output"),
]
EDGES = {(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6), (6, 7), (7, 8), (5, 9), (8, 9), (2, 10), (9, 10), (10, 11),
         (11, 12), (12, 13), (13, 14)}  # fmt: skip


def test_a_module_is_read_without_being_changed():
    module = Block()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    module.stem.eval()
    names, edges = ArchBatch.from_modules([module], IMAGE).graph(0)
    assert (names, set(edges)) == (NAMES, EDGES)
    assert module.training
    assert not module.stem.training
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_multiply_accumulates_are_counted():
    convolutions = 16 * 8 * 27 + 16 * 8 * 25 + 16 * 8 * 4 * 9 + 8 * 8
    assert recorded(Block(), IMAGE, "it").flops == convolutions + 8 * 5
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    tokens = torch.zeros(2, 3, 8)
    assert recorded(attention, (tokens, tokens, tokens), "it").flops == 2 * (4 * 3 * 8 * 8 + 2 * 3 * 3 * 8)


def test_arguments_may_be_given_by_name():
    class Named(nn.Module):
        def forward(self, x):
            return F.linear(input=x, weight=torch.ones(2, 8))

    graph, flops = recorded(Named(), IMAGE, "it")
    assert (graph[0], flops) == (["input", "linear", "output"], 3 * 8 * 8 * 2)


def test_an_exported_program_is_its_module():
    module = Block().eval()
    program = torch.export.export(module, (IMAGE,))
    archs = ArchBatch.from_modules([module], IMAGE)
    assert ArchBatch.from_exported([program]) == archs
    # SiLU is a product with a sigmoid among the core operations of ATen.
    names, _ = ArchBatch.from_exported([program.run_decompositions()]).graph(0)
    assert names == [*NAMES[:4], "sigmoid", "mul", *NAMES[5:]]
    with pytest.raises(ValueError, match=r"program 1 is no ExportedProgram of torch.export, but Block"):
        ArchBatch.from_exported([program, module])


def test_unknown_kinds_are_other_in_a_given_vocabulary():
    vocabulary = ["input", "linear", "conv1x1", OTHER, "output"]
    names, _ = ArchBatch.from_modules([Block()], IMAGE, vocabulary).graph(0)
    assert names == [name if name in vocabulary else OTHER for name in NAMES]
    with pytest.raises(ValueError, match=r"the vocabulary lacks add, .*; add 'other' to it"):
        ArchBatch.from_modules([Block()], IMAGE, ["input", "output"])


def test_recurrent_and_attending_modules_convert():
    class Text(nn.Module):
        def __init__(self):
            super().__init__()
            self.words = nn.Embedding(10, 8)
            self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
            self.memory = nn.LSTM(8, 8, batch_first=True)

        def forward(self, tokens):
            return self.memory(self.layer(self.words(tokens)))[0][:, -1]

    names, _ = ArchBatch.from_modules([Text()], torch.zeros(2, 5, dtype=torch.int64)).graph(0)
    kinds = ["input", "embedding", "attention", "add", "layernorm", "linear", "relu", "linear", "add", "layernorm"]
    assert names == [*kinds, "lstm", "output"]


def test_writing_into_a_part_and_several_inputs_are_edges():
    class Filled(nn.Module):
        def forward(self, x, y):
            room = torch.zeros(x.shape)
            room[:, :] = torch.relu(x)
            return torch.cat([room, y.contiguous(), x], 1)

    names, edges = ArchBatch.from_modules([Filled()], (torch.ones(1, 2), torch.ones(1, 2))).graph(0)
    assert names == ["input", "input", "relu", "concat", "output"]
    assert set(edges) == {(0, 2), (2, 3), (1, 3), (0, 3), (3, 4)}


class OnValues(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x  # the line that is asked for


class Moves(nn.Module):
    def forward(self, x):
        return x.to("cuda:0")


class Constant(nn.Module):
    def forward(self, x):
        return torch.zeros(3)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (OnValues(), r"model 0: its forward depends on the values .* line \d+: .*asked for\); .*from_exported"),
        (Moves(), r"model 0 cannot be run without values: .*moves to a GPU.*line \d+"),
        (Constant(), "model 0: its output does not depend on its input"),
        (nn.Linear(5, 2), "model 0 cannot be run without values: RuntimeError: a and b must"),
        (lambda x: x, "model 0 is no torch.nn.Module, but of type function"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_module_that_cannot_be_read_is_named(module, message):
    with pytest.raises(ValueError, match=message) as caught:
        ArchBatch.from_modules([module], IMAGE)
    assert "\n" not in str(caught.value)


def test_an_example_is_a_tensor():
    with pytest.raises(ValueError, match="example input must be a tensor or a tuple with one, not list"):
        ArchBatch.from_modules([Block()], [1, 2])


def onnx_model(*, external=None):
    """A convolution, its rectifier, a pooling, a residual with a constant, a reshape, a linear layer, a dead end."""
    weight = numpy_helper.from_array(np.zeros((4, 1, 3, 3), np.float32), "weight")
    first = numpy_helper.from_array(np.zeros((4, 3, 1, 1), np.float32), "first")
    one = numpy_helper.from_array(np.ones(1, np.float32), "one")
    table = numpy_helper.from_array(np.ones((4, 2), np.float32), "table")
    shape = numpy_helper.from_array(np.array([1, 4]), "shape")
    if external:
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        weight.external_data.add(key="location", value=external)
    nodes = [
        helper.make_node("Conv", ["x", "first"], ["a"]),
        helper.make_node("Conv", ["a", "weight"], ["b"], group=4, pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("Tanh", ["b"], ["nowhere"]),
        helper.make_node("AveragePool", ["c"], ["d"], kernel_shape=[2, 2], strides=[1, 1]),
        helper.make_node("Add", ["d", "one"], ["e"]),
        helper.make_node("GlobalAveragePool", ["e"], ["f"]),
        helper.make_node("Reshape", ["f", "shape"], ["g"]),
        helper.make_node("MatMul", ["g", "table"], ["y"]),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "it", values[:1], values[1:], [weight, first, one, table, shape])
    return helper.make_model(graph)


def test_an_onnx_file_is_read(tmp_path):
    onnx.save(onnx_model(external="weights.bin"), tmp_path / "it.onnx")
    names, edges = ArchBatch.from_onnx([tmp_path / "it.onnx"]).graph(0)
    assert names == ["input", "conv1x1", "dwconv3x3/2", "relu", "avgpool2x2", "globalpool", "linear", "output"]
    assert edges == [(place, place + 1) for place in range(7)]


def test_bad_onnx_files_are_one_line(tmp_path, monkeypatch):
    path = tmp_path / "it.onnx"
    whole = onnx_model().SerializeToString()
    broken = onnx_model()
    broken.graph.node[1].input[0] = "missing"
    cases = [
        (whole[: len(whole) // 2], "truncated or no ONNX file"),
        (b"", "truncated or no ONNX file: its graph is empty"),
        (b"\x89PNG and more", "truncated or no ONNX file"),
        (broken.SerializeToString(), "is damaged: node '' reads 'missing', which nothing makes"),
        (onnx_model(external="../../etc/passwd").SerializeToString(), r"names data outside its folder \('../../etc"),
        (onnx_model(external="/etc/passwd").SerializeToString(), "names data outside its folder"),
    ]
    for content, message in cases:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message) as caught:
            ArchBatch.from_onnx([path])
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError):
        ArchBatch.from_onnx([tmp_path / "none.onnx"])
    with path.open("wb") as file:
        file.truncate((2 << 30) + 1)  # sparse: it takes no room
    with pytest.raises(ValueError, match="has 2,147,483,649 bytes"):
        ArchBatch.from_onnx([path])
