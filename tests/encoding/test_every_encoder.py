"""What holds for every registered encoder."""

import numpy as np
import pytest
import torch
from torch import nn

from archflow.archs.batch import ArchBatch
from archflow.encoding.base import NodeEncoder
from archflow.encoding.registry import _ENCODERS, encode, encoder, encoders, load_encoder, save_encoder
from tests.strategies import VOCABULARY, random_graphs

ARCHS = ArchBatch.from_graphs(
    [*random_graphs(20, seed=3, max_nodes=10), (["input"], []), (["pool", "input", "input"], [(2, 0)])], VOCABULARY
)
OF_NODES = [name for name in encoders() if issubclass(_ENCODERS[name], NodeEncoder)]


def new(name, seed=0):
    torch.manual_seed(seed)
    return encoder(name, VOCABULARY, hidden=8, layers=2).double()


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return [parameter.grad.clone() for parameter in model.parameters()]


def test_all_but_one_have_node_values():
    assert set(encoders()) - set(OF_NODES) == {"mlp"}


@pytest.mark.parametrize("name", OF_NODES)
def test_a_vector_is_the_mean_of_the_values_of_its_nodes(name):
    model = new(name).eval()
    values, vectors = model.nodes(ARCHS), model(ARCHS)
    assert values.shape == (len(ARCHS.operations), model.width)
    parts = values.split(np.diff(ARCHS.node_offsets).tolist())
    torch.testing.assert_close(torch.stack([part.mean(0) for part in parts]), vectors)
    for index, part in enumerate(parts):
        torch.testing.assert_close(part, model.nodes(ARCHS[[index]]))
    weights = torch.randn(vectors.shape, dtype=vectors.dtype)
    by_node = sum((part.mean(0) * weight).sum() for part, weight in zip(parts, weights, strict=True))
    for found, expected in zip(
        gradients(model, by_node), gradients(model, (model(ARCHS) * weights).sum()), strict=True
    ):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", encoders())
def test_encoding_is_done_in_evaluation_mode_and_in_parts(name):
    model = new(name)
    state = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    expected = model.eval()(ARCHS)
    found = encode(model.train(), ARCHS, 5)
    torch.testing.assert_close(found, expected)
    assert not found.requires_grad
    assert all(part.training for part in model.modules())
    assert all(torch.equal(tensor, state[key]) for key, tensor in model.state_dict().items())


def test_each_part_is_afterwards_in_the_mode_that_it_was_in():
    model = new("flowerformer")
    model.norm.eval()
    modes = [part.training for part in model.modules()]
    assert len(set(modes)) == 2
    encode(model, ARCHS)
    assert [part.training for part in model.modules()] == modes
    with pytest.raises(ValueError, match="another space"):
        encode(model, ArchBatch.from_graphs([(["input"], [])], ["input"]))
    assert [part.training for part in model.modules()] == modes


@pytest.mark.parametrize("name", encoders())
def test_a_file_keeps_all_that_was_learned(name, tmp_path):
    model = new(name).float()
    model(ARCHS)
    save_encoder(model, tmp_path / "encoder")
    loaded, _ = load_encoder(tmp_path / "encoder")
    for key, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], tensor)
        assert loaded.state_dict()[key].dtype == tensor.dtype
    counts = [part.num_batches_tracked for part in loaded.modules() if isinstance(part, nn.BatchNorm1d)]
    assert all(count == 1 for count in counts)
    assert len(counts) == (7 if name == "flowerformer" else 0)
    assert torch.equal(encode(loaded, ARCHS), encode(model, ARCHS))
