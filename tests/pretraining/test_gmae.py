import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from archflow import ArchBatch, encoder
from archflow.pretraining.gmae import GMAE, MASK, WithMask
from archflow.pretraining.nodes import NodeValues
from archflow.pretraining.task import step_generator
from tests.pretraining import ARCHS, SPACE, Table, assert_equal, batch_of, new, run, weights_of
from tests.strategies import VOCABULARY, lists_of_graphs, random_graphs

NODES = 12


def masked(archs, task, seed=0):
    objective = task.build(encoder("resgatedgcn", archs.vocabulary, hidden=4, layers=1), archs)
    return objective._masked(archs, np.random.default_rng(seed))


# Masking


@settings(max_examples=50)
@given(
    lists_of_graphs(max_size=5, max_nodes=NODES),
    st.sampled_from([0.1, 0.5, 1.0]),
    st.sampled_from([0.0, 0.3, 1.0]),
    st.integers(0, 99),
)
def test_a_share_of_the_inner_operations_is_masked(graphs, share, replace, seed):
    archs = batch_of(graphs)
    hidden, seen = masked(archs, GMAE(share, replace), seed)
    names = [name for names, _ in graphs for name in names]
    inner = [node for node, name in enumerate(names) if name not in ("input", "output")]
    assert len(hidden) == len(set(hidden)) == min(len(inner), max(1, round(share * len(inner))))
    assert set(hidden) <= set(inner)
    assert seen.vocabulary == (VOCABULARY if replace == 1 else (*VOCABULARY, MASK))
    for node, operation in enumerate(seen.operations):
        found = seen.vocabulary[operation]
        if node not in hidden:
            assert found == names[node]
        elif replace == 0:
            assert found == MASK
        else:
            assert found in ("conv", "pool", "skip", MASK)
    assert np.array_equal(seen.edges, archs.edges)
    assert np.array_equal(seen.edge_offsets, archs.edge_offsets)


def test_some_masked_nodes_get_another_operation():
    archs = SPACE.sample(2_000, seed=1)
    hidden, seen = masked(archs, GMAE(0.5, 0.2))
    assert len(hidden) == 2_000 * 6 // 2
    carried = seen.operations[hidden]
    assert (carried < 7).mean() == pytest.approx(0.2, abs=0.03)
    assert np.bincount(carried[carried < 7], minlength=7)[1:6].min() > 150


# The mask


def longer_by_hand(model):
    """The same encoder for a vocabulary with the mask, whose weights are 0."""
    longer = type(model)((*model.vocabulary, MASK), model.settings)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    if isinstance(model, Table):
        state["table.weight"] = torch.cat([state["table.weight"], torch.zeros(1, model.width)])
    else:
        state["embed.weight"] = torch.cat([state["embed.weight"], torch.zeros(model.width, 1)], 1)
    longer.load_state_dict(state)
    return longer


@pytest.mark.parametrize("kind", ["columns", "rows"])
def test_the_extended_encoder_has_the_weights_of_the_encoder(kind):
    model = Table(VOCABULARY) if kind == "rows" else encoder("resgatedgcn", VOCABULARY, hidden=8, layers=2)
    archs = batch_of(random_graphs(10, seed=4, max_nodes=NODES))
    _, seen = masked(archs, GMAE())
    values = WithMask(NodeValues(model, NODES))
    expected = longer_by_hand(model).nodes(seen)
    found = values(seen)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        values(ArchBatch(archs.operations, *arrays_of(archs), seen.vocabulary)), model.nodes(archs)
    )
    assert len(values.mask) == 1
    found.square().sum().backward()
    assert all(weight.grad is not None for weight in values.parameters())
    assert values.mask[0].grad.abs().max() > 0
    names = {name for name, _ in values.named_parameters()}
    assert names == {"mask.0", *(f"values.encoder.{name}" for name, _ in model.named_parameters())}
    assert model.vocabulary == VOCABULARY


def test_the_extended_encoder_is_in_the_mode_of_the_encoder():
    torch.manual_seed(0)
    model = encoder("flowerformer", VOCABULARY, hidden=8, layers=2)
    archs = batch_of(random_graphs(10, seed=4, max_nodes=NODES))
    _, seen = masked(archs, GMAE())
    values = WithMask(NodeValues(model, NODES))
    first, second = values(seen), values(seen)
    assert not torch.allclose(first, second)
    assert model.norm.num_batches_tracked == 2
    values.eval()
    torch.testing.assert_close(values(seen), longer_by_hand(model).eval().nodes(seen))
    assert torch.equal(values(seen), values(seen))
    assert model.norm.num_batches_tracked == 2
    assert not torch.allclose(values.train()(seen), values(seen))


def arrays_of(archs):
    return archs.node_offsets, archs.edges, archs.edge_offsets


def test_an_encoder_to_which_no_mask_can_be_added():
    class Blind(Table):
        name = "blind"

        def __init__(self, vocabulary, settings=None):
            super().__init__(vocabulary, settings)
            self.table = torch.nn.Embedding(99, 16)

    with pytest.raises(ValueError, match="no mask can be added to encoder 'blind'"):
        run(Blind(SPACE.vocabulary), GMAE())


# The loss


@pytest.mark.parametrize("replace", [0.3, 1.0])
def test_equal_to_the_equations(replace):
    graphs = random_graphs(12, seed=1, max_nodes=NODES)
    model = encoder("resgatedgcn", VOCABULARY, hidden=8, layers=2)
    objective = GMAE(replace=replace, decoder_width=5).build(model, batch_of(graphs))
    chosen = np.array([4, 0, 9, 9])
    archs = batch_of([graphs[index] for index in chosen])
    with torch.no_grad():
        torch.manual_seed(3)
        found = objective(chosen)
        torch.manual_seed(3)
        hidden, seen = objective._masked(archs, step_generator())
        values = (model if replace == 1 else longer_by_hand(model)).nodes(seen)
        surprises = []
        for node in hidden:
            chances = torch.softmax(objective.decoder(values[node]), 0)
            surprises.append(-torch.log(chances[int(archs.operations[node])]))
    assert found.keys() == {"operations"}
    assert float(found["operations"]) == pytest.approx(float(sum(surprises) / len(surprises)), rel=1e-4)


def test_each_minibatch_has_its_own_masks():
    objective, chosen = GMAE().build(new(), ARCHS), np.arange(8)
    first, second = (objective(chosen)["operations"].item() for _ in range(2))
    assert first != second


def test_architectures_without_an_inner_node():
    archs = batch_of([(["input", "output"], [(0, 1)])] * 4)
    outcome = run(encoder("resgatedgcn", VOCABULARY, hidden=8), GMAE(), archs, epochs=1)
    assert outcome.losses["operations"] == [0.0]


def test_it_learns_predictable_operations():
    """If all inner nodes of a cell are equal, those not masked determine those that are."""
    archs = ArchBatch.concatenate([SPACE.decode(np.full((1, 6), number)) for number in range(5)] * 10)
    outcome = run(new(), GMAE(share=0.3, replace=0), archs, epochs=40, lr=1e-2)
    assert outcome.losses["operations"][-1] < 0.1


def test_batch_norm_statistics_are_those_of_the_encoder():
    model = Table(SPACE.vocabulary)
    before = weights_of(model)
    run(model, GMAE())
    assert model.norm.num_batches_tracked == 12
    assert not torch.equal(model.norm.running_mean, before["norm.running_mean"])
    again = Table(SPACE.vocabulary)
    again.load_state_dict(before)
    run(again, GMAE())
    assert_equal(again, weights_of(model))


def test_a_space_without_a_choice():
    archs = ArchBatch.from_graphs([(["input", "conv"], [(0, 1)])], ["input", "conv", "output"])
    with pytest.raises(ValueError, match="GMAE needs two operations to choose from"):
        run(encoder("resgatedgcn", archs.vocabulary, hidden=4), GMAE(), archs)
