"""Properties that every encoder must have; the other files test those of single encoders."""

import copy
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.nasbench201.space import NASBench201
from archflow.encoding.files import describe, from_description, load_encoder, save_encoder
from archflow.encoding.registry import ENCODERS, encode, encoder, encoders
from tests.encoding import ISOLATED, OF_NODES, READ_THE_NUMBERING, SMALL, assert_near, batch_of, gradients, new, weighed
from tests.strategies import VOCABULARY, lists_of_graphs, random_graphs, renumber

ARCHS = batch_of([*random_graphs(40, seed=3, max_nodes=12), *ISOLATED])
FEW = ARCHS[20:]
all_encoders = pytest.mark.parametrize("name", encoders())
seeds = st.integers(0, 2**32 - 1)


def test_every_encoder_is_tested():
    assert set(encoders()) - set(OF_NODES) == {"mlp"}
    assert all(kind.name == name for name, kind in ENCODERS.items())


# Dependencies of a vector


@all_encoders
@settings(max_examples=20)
@given(graphs=lists_of_graphs(max_size=5, max_nodes=12), prepared=st.booleans(), seed=seeds)
def test_the_rest_of_the_batch_changes_nothing(name, graphs, prepared, seed):
    archs, model = batch_of([*graphs, *ISOLATED]), new(name)
    if prepared:
        model.prepare(archs)
    with torch.no_grad():
        whole = model(archs)
        assert_near(torch.cat([model(archs[index]) for index in range(len(archs))]), whole, 1e-11)
        chosen = np.random.default_rng(seed).integers(len(archs), size=4)
        assert_near(model(archs[chosen]), whole[chosen], 1e-11)


@pytest.mark.parametrize("name", [name for name in encoders() if name not in READ_THE_NUMBERING])
@settings(max_examples=30)
@given(graphs=lists_of_graphs(max_size=4, max_nodes=20), seed=seeds)
def test_the_numbering_of_the_nodes_does_not_matter(name, graphs, seed):
    rng, model = np.random.default_rng(seed), new(name)
    with torch.no_grad():
        assert_near(model(batch_of([renumber(graph, rng) for graph in graphs])), model(batch_of(graphs)), 1e-11)


@all_encoders
def test_different_operations_and_edges_give_different_vectors(name):
    names = ["input", "conv", "pool", "output"]
    graphs = [
        (names, [(0, 1), (1, 2), (2, 3)]),
        (names, [(0, 2), (2, 1), (1, 3)]),
        (names, [(0, 1), (1, 3), (0, 2), (2, 3)]),
        (["input", "conv", "conv", "output"], [(0, 1), (1, 2), (2, 3)]),
    ]
    assert torch.pdist(new(name)(batch_of(graphs))).min() > 1e-4


@all_encoders
def test_names_of_inputs_are_not_required(name):
    graphs, names = random_graphs(5, seed=8, max_nodes=8), ["image", "a", "b", "c", "logits"]
    renamed = [([names[VOCABULARY.index(each)] for each in graph[0]], graph[1]) for graph in graphs]
    assert torch.equal(new(name, names)(ArchBatch.from_graphs(renamed, names)), new(name)(batch_of(graphs)))


@all_encoders
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_deterministic_and_of_its_dtype(name, dtype):
    first = new(name, dtype=dtype)(FEW)
    assert first.dtype == dtype
    assert torch.equal(first, new(name, dtype=dtype)(FEW))
    assert not torch.allclose(first, new(name, seed=1, dtype=dtype)(FEW))


@pytest.mark.parametrize("name", [name for name in encoders() if name != "flowerformer"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_training_and_evaluation_are_the_same(name, dtype, tolerance):
    model = new(name, dtype=dtype)
    first = model.train()(FEW)
    assert torch.equal(first, model.eval()(FEW))
    with torch.no_grad():  # a transformer has a separate code path without gradients
        for mode in (True, False):
            assert_near(model.train(mode)(FEW), first, tolerance)


# Numbers and gradients


@all_encoders
@pytest.mark.parametrize("graphs", [ISOLATED, ISOLATED[:1], ISOLATED[1:2], ISOLATED[1:2] * 3], ids=len)
@pytest.mark.parametrize("layers", [1, 3])
def test_isolated_nodes(name, graphs, layers):
    vectors = new(name, layers=layers)(batch_of(graphs))
    assert vectors.shape == (len(graphs), SMALL[name]["hidden"])
    assert vectors.isfinite().all()
    vectors.sum().backward()


@all_encoders
def test_single_precision_is_near_double_precision(name):
    model = new(name)
    assert_near(copy.deepcopy(model).float()(ARCHS), model(ARCHS).float(), 1e-4)


@all_encoders
def test_mixed_precision_trains(name):
    model = new(name, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = model(FEW).float()
    assert_near(mixed, model(FEW), 0.1)
    assert all(gradient.isfinite().all() for gradient in gradients(model.parameters(), mixed))


@all_encoders
def test_gradients_reach_all_parameters(name):
    model = new(name)
    for parameter, gradient in zip(model.parameters(), gradients(model.parameters(), model(ARCHS)), strict=True):
        assert gradient.shape == parameter.shape
        assert gradient.isfinite().all()
        assert gradient.abs().max() > 1e-9


@all_encoders
@pytest.mark.parametrize("layers", [1, 3])
def test_gradients_are_those_of_finite_differences(name, layers):
    archs, model = batch_of([*random_graphs(3, seed=3, max_nodes=5), *ISOLATED]), new(name, layers=layers, hidden=2)
    names = [name for name, _ in model.named_parameters()]

    def call(*values):
        return torch.func.functional_call(model, dict(zip(names, values, strict=True)), (archs,))

    assert torch.autograd.gradcheck(call, tuple(model.parameters()))


@pytest.mark.parametrize("name", OF_NODES)
def test_a_vector_is_the_mean_of_the_values_of_its_nodes(name):
    model = new(name)
    values, vectors = model.nodes(FEW), model(FEW)
    assert values.shape == (len(FEW.operations), model.width)
    parts = values.split(np.diff(FEW.node_offsets).tolist())
    means = torch.stack([part.mean(0) for part in parts])
    assert_near(means, vectors)
    for index, part in enumerate(parts):
        assert_near(part, model.nodes(FEW[[index]]))
    for found, expected in zip(*(gradients(model.parameters(), each) for each in (means, vectors)), strict=True):
        assert_near(found, expected)


@all_encoders
@pytest.mark.parametrize("size", [1, 7, len(ARCHS), 512])
def test_encoding_is_done_in_evaluation_mode_and_in_parts(name, size):
    model = new(name)
    state = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    expected = model(ARCHS)
    found = encode(model.train(), ARCHS, size)
    assert_near(found, expected, 1e-11)
    assert not found.requires_grad
    assert all(part.training for part in model.modules())
    assert all(torch.equal(tensor, state[key]) for key, tensor in model.state_dict().items())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
@all_encoders
def test_a_gpu_gives_the_same(name):
    model = new(name)
    on_gpu = copy.deepcopy(model).to("cuda")
    expected, found = model(ARCHS), on_gpu(ARCHS)
    assert found.is_cuda
    assert_near(found.cpu(), expected, 1e-8)
    for output in (expected, found.cpu()):
        weighed(output).backward()
    for ours, theirs in zip(model.parameters(), on_gpu.parameters(), strict=True):
        assert_near(theirs.grad.cpu(), ours.grad, 1e-8)


# Settings, vocabularies and files


@all_encoders
def test_the_default_settings(name):
    model = encoder(name, list(VOCABULARY))
    assert type(model) is ENCODERS[name]
    assert model.vocabulary == VOCABULARY
    assert model.settings == ENCODERS[name].Settings()
    assert (model.settings.hidden, model.settings.layers) == ((64, 9) if name == "flowerformer" else (128, 3))
    assert model.width == model.settings.hidden
    assert encoder(name, VOCABULARY, **SMALL[name]).width == 8


@all_encoders
@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"unknown": 5}, "has no setting 'unknown'; its settings are hidden, layers"),
        ({"hidden": 0}, "hidden must be from 1 to 65,536, not 0"),
        ({"layers": -2}, "layers must be from 1 to 1,000, not -2"),
        ({"hidden": 10**9}, "hidden must be from 1 to 65,536, not 1000000000"),
        ({"hidden": 60_000}, "an encoder with hidden = 60000 and layers = "),
        ({"layers": 1.5}, "layers must be a whole number, not 1.5"),
        ({"hidden": "8"}, "hidden must be a whole number, not '8'"),
    ],
    ids=str,
)
def test_a_wrong_setting(name, wrong, reason):
    with pytest.raises(ValueError, match=f"^encoder '{name}'.*{re.escape(reason)}"):
        encoder(name, VOCABULARY, **wrong)


@all_encoders
def test_a_string_is_refused_as_vocabulary(name):
    with pytest.raises(ValueError, match=r"^the vocabulary is the string 'nasbench201', but must be a sequence"):
        encoder(name, "nasbench201")


@all_encoders
def test_architectures_of_another_space(name):
    with pytest.raises(ValueError, match="the architectures are of another space than the encoder's"):
        new(name)(NASBench201().sample(2))


@all_encoders
def test_a_file_restores_everything_learned(name, tmp_path):
    model = new(name, dtype=torch.float32).train()
    model(ARCHS)
    assert describe(from_description(describe(model))) == describe(model)
    save_encoder(model, tmp_path / "encoder", pretraining={"epochs": 3}, note="τ")
    loaded, provenance = load_encoder(tmp_path / "encoder")
    assert provenance == {"pretraining": {"epochs": 3}, "note": "τ"}
    assert describe(loaded) == describe(model)
    assert loaded.settings == model.settings
    for key, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], tensor)
        assert loaded.state_dict()[key].dtype == tensor.dtype
    counts = [part.num_batches_tracked for part in loaded.modules() if isinstance(part, nn.BatchNorm1d)]
    assert counts == [1] * (7 if name == "flowerformer" else 0)
    assert torch.equal(encode(loaded, ARCHS), encode(model, ARCHS))
