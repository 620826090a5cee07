import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings

from archflow import encoder
from archflow.encoding.dense import DenseSettings
from archflow.pretraining.arch2vec import Arch2Vec, pairs
from archflow.pretraining.task import step_generator
from tests.pretraining import ARCHS, Flat, batch_of, new, run
from tests.strategies import VOCABULARY, lists_of_graphs, random_graphs


@settings(max_examples=60)
@given(lists_of_graphs(max_size=5, max_nodes=12))
def test_pairs(graphs):
    archs, expected = batch_of(graphs), []
    for offset, (names, edges) in zip(archs.node_offsets.tolist(), graphs, strict=False):
        expected += [
            (offset + i, offset + j, (i, j) in edges or (j, i) in edges)
            for i, j in itertools.combinations(range(len(names)), 2)
        ]
    assert list(zip(*(array.tolist() for array in pairs(archs)), strict=True)) == expected


def test_a_single_node_has_no_pairs():
    first, second, connected = pairs(batch_of([(["input"], []), (["input"], [])]))
    assert len(first) == len(second) == len(connected) == 0


def plain_terms(objective, graphs, values, noise, kl):
    """Node by node and pair by pair, with torch.distributions; the values are those of all nodes, concatenated."""
    operations, edges, distances, node = [], [], [], 0
    for names, arrows in graphs:
        samples = []
        for name in names:
            mean = objective.mean(values[node])
            deviation = torch.exp(objective.log_variance(values[node]) / 2)
            posterior = torch.distributions.Normal(mean, deviation)
            prior = torch.distributions.Normal(torch.zeros_like(mean), 1.0)
            distances.append(torch.distributions.kl_divergence(posterior, prior).sum())
            samples.append(mean + deviation * noise[node])
            chances = torch.distributions.Categorical(logits=objective.operation(samples[-1]))
            operations.append(-chances.log_prob(torch.tensor(objective.archs.vocabulary.index(name))))
            node += 1
        for i, j in itertools.combinations(range(len(names)), 2):
            connected = float((i, j) in arrows or (j, i) in arrows)
            chances = torch.distributions.Bernoulli(logits=samples[i] @ samples[j])
            edges.append(-chances.log_prob(torch.tensor(connected)))
    terms = {"operations": operations, "edges": edges, "kl": [kl * distance for distance in distances]}
    return {name: float(torch.stack(term).mean()) for name, term in terms.items()}


@pytest.mark.parametrize("kind", ["own values", "unfolded"])
def test_equal_to_the_equations(kind):
    model = encoder("resgatedgcn", VOCABULARY, hidden=8, layers=2)
    if kind == "unfolded":
        model = Flat(VOCABULARY, DenseSettings(16, nodes=12))
    graphs = random_graphs(12, seed=1, max_nodes=12)
    objective = Arch2Vec(latent=3, kl=0.3).build(model, batch_of(graphs))
    torch.nn.init.normal_(objective.log_variance.weight)
    chosen = np.array([4, 0, 9, 9])
    picked = [graphs[index] for index in chosen]
    with torch.no_grad():
        torch.manual_seed(3)
        found = objective(chosen)
        if kind == "unfolded":
            rows = torch.relu(objective.values.unfold(model(batch_of(picked)))).unflatten(1, (-1, 64))
            values = torch.cat([row[: len(graph[0])] for row, graph in zip(rows, picked, strict=True)])
        else:
            values = torch.cat([model.nodes(batch_of([graph])) for graph in picked])
        torch.manual_seed(3)
        noise = torch.from_numpy(step_generator().standard_normal((len(values), 3), np.float32))
        expected = plain_terms(objective, picked, values, noise, 0.3)
    assert {name: float(term) for name, term in found.items()} == pytest.approx(expected, rel=1e-4)


def test_each_minibatch_has_its_own_noise():
    objective, chosen = Arch2Vec().build(new(), ARCHS), np.arange(8)
    first, second = (objective(chosen)["edges"].item() for _ in range(2))
    assert first != second


def test_architectures_of_one_node_have_no_edge_to_predict():
    archs = batch_of([(["input"], [])] * 4)
    outcome = run(encoder("resgatedgcn", VOCABULARY, hidden=8), Arch2Vec(), archs, epochs=1)
    assert outcome.losses["edges"] == [0.0]
    assert np.isfinite(outcome.losses["operations"]).all()
    assert outcome.losses.keys() == {"operations", "edges", "kl"}
