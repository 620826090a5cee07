"""What the Gaussian process promises as a head: columns, intervals, suggestions, and any number of candidates."""

import tracemalloc

import numpy as np
import pytest
from scipy.special import ndtri

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.tables import table
from archflow.ranking import gp_head
from archflow.ranking.columns import widened
from archflow.ranking.labels import contents
from archflow.ranking.metrics import kendall_tau
from archflow.ranking.ranker import Ranker
from archflow.ranking.sources import columns_of, space_of
from tests.ranking.test_every_head import CELLS, CONVOLUTIONS, SPACE, TEST, TRAIN, new
from tests.strategies import VOCABULARY, random_graphs

TABLE = table("nasbench201/analog")
ACCURACY = TABLE[TABLE.default]
LABELLED = np.random.default_rng(0).permutation(len(TABLE))[:118]
DAGS = ArchBatch.from_graphs(random_graphs(80, seed=3, max_nodes=12), VOCABULARY)
DAGS = DAGS[np.unique(contents(DAGS), return_index=True)[1][:60]]
NOISE = np.random.default_rng(2).normal(size=(60, 3))


@pytest.fixture(scope="module")
def fitted():
    return Ranker(None, "gp").fit(TABLE.archs[LABELLED], ACCURACY[LABELLED])


# Columns


def test_cells_of_a_benchmark_bring_their_proxies(fitted):
    expected = [*SPACE.proxies, *(f"measured/{name}" for name in table("nasbench201/proxies").columns)]
    names, values = columns_of(CELLS, SPACE)
    assert list(names) == expected
    assert np.isfinite(values).all()
    assert np.array_equal(values[:, 0], SPACE.parameters(CELLS))
    without = Ranker(None, "gp", space=None).fit(TABLE.archs[LABELLED], ACCURACY[LABELLED])
    taus = [kendall_tau(ACCURACY, each.predict(TABLE.archs)) for each in (fitted, without)]
    assert taus[0] > 0.78
    assert taus[0] > taus[1]


def test_columns_are_scaled_among_candidates(monkeypatch):
    """A column that is constant among the labelled tells nothing apart; among candidates too, it varies."""
    few, column = LABELLED[:30], np.arange(len(TABLE)) % 7 == 0
    few, column = few[~column[few]], column.astype(float)

    def fit(head, **candidates):
        ranker = Ranker(None, head, space=None, seed=0)
        return ranker.fit(TABLE.archs[few], ACCURACY[few], proxies=column[few], **candidates)

    kept = {"candidates": TABLE.archs, "candidate_proxies": column}
    alone, among = fit("gp"), fit("gp", **kept)
    assert "proxies" not in alone._fitted.head.model.gp.columns.scalings
    scaling = among._fitted.head.model.gp.columns.scalings["proxies"]
    np.testing.assert_array_equal(np.unique(scaling.values), [0, 1])
    assert among._fitted.head.candidates is None
    monkeypatch.setattr("archflow.ranking.fitted._CANDIDATES", len(TABLE) * 2)
    everything = fit("gp", **kept).predict(TABLE.archs[:500], proxies=column[:500])
    assert kendall_tau(everything, among.predict(TABLE.archs[:500], proxies=column[:500])) > 0.9
    with pytest.raises(ValueError, match="15,625 candidates, but their proxies have shape"):
        fit("gp", candidates=TABLE.archs, candidate_proxies=column[1:])
    with pytest.raises(ValueError, match="have the proxies none"):
        fit("gp", candidates=TABLE.archs)
    with pytest.raises(ValueError, match="of another space than the labelled ones"):
        fit("gp", candidates=DAGS)


def test_which_space_architectures_are_from():
    assert space_of(CELLS, "auto").name == "nasbench201"
    assert space_of(CELLS, "darts").name == "darts"
    assert space_of(CELLS, SPACE) is SPACE
    assert space_of(CELLS, None) is None
    assert space_of(DAGS, "auto") is None
    foreign = ArchBatch.from_graphs([(["input", "none", "output"], [(0, 1), (1, 2)])], SPACE.vocabulary)
    assert space_of(foreign, "auto") is None  # the operations are called so, but it is no cell


def test_dags_of_no_space_are_ranked_by_their_paths():
    longest = np.maximum.reduceat(DAGS.generations, DAGS.node_offsets[:-1]).astype(float)
    ranker = Ranker(None, "gp").fit(DAGS[:30], longest[:30])
    assert ranker.score(DAGS[30:], longest[30:]) > 0.6
    assert len(set(ranker.suggest(DAGS, 10)) | set(range(30))) == 40


def test_ones_own_proxies_are_read(tmp_path):
    subject = Ranker(None, "gp").fit(DAGS[:40], NOISE[:40, 1], proxies=NOISE[:40])
    assert subject.score(DAGS[40:], NOISE[40:, 1], proxies=NOISE[40:]) > 0.7
    assert len(subject.suggest(DAGS, 5, proxies=NOISE)) == 5
    subject.save(tmp_path / "ranker")
    scores = subject.predict(DAGS, proxies=NOISE)
    assert np.array_equal(Ranker.load(tmp_path / "ranker").predict(DAGS, proxies=NOISE.tolist()), scores)
    halves = Ranker(None, "gp").fit(
        *(DAGS[:20], NOISE[:20, 1], (DAGS[20:40], NOISE[20:40, 1])),
        proxies=NOISE[:20],
        validation_proxies=NOISE[20:40],
    )
    assert np.array_equal(halves.predict(DAGS, proxies=NOISE), scores)
    for proxies, reason in (
        (None, "these architectures have the proxies none, but the labelled ones own 1, own 2, own 3"),
        (NOISE[:, 0], "these architectures have the proxies own 1, but the labelled ones"),
        (NOISE[:5], r"there are 60 architectures, but the proxies have shape \(5, 3\)"),
        (["x"] * 60, "the proxies are not numbers"),
    ):
        with pytest.raises(ValueError, match=reason):
            subject.predict(DAGS, proxies=proxies)
    with pytest.raises(ValueError, match="have the proxies none, but the labelled ones own 1"):
        subject.fit(DAGS[:20], NOISE[:20, 1], (DAGS[20:40], NOISE[20:40, 1]), proxies=NOISE[:20])


def test_proxies_that_are_not_finite_are_filled_and_it_is_said():
    proxies = np.column_stack([NOISE, np.full(60, np.nan), np.ones(60)])
    proxies[[1, 4, 50], [0, 0, 1]] = np.nan, np.inf, -np.inf
    with pytest.warns(UserWarning, match="2 columns of the block 'proxies' hold NaN or infinity") as caught:
        subject = Ranker(None, "gp").fit(DAGS[:40], NOISE[:40, 1], proxies=proxies[:40])
    assert len(caught) == 1
    assert np.isfinite(subject.predict(DAGS, proxies=proxies)).all()


@pytest.mark.filterwarnings("ignore:2 of the architectures|2 labels")
def test_architectures_that_nothing_tells_apart():
    alike = ArchBatch.from_graphs([(["conv", "input"], [(1, 0)]), (["input", "conv"], [(0, 1)])] * 6, VOCABULARY)
    with pytest.raises(ValueError, match="no column varies"):
        Ranker(None, "gp").fit(alike, np.arange(12.0))


# Deviations and suggestions


def test_intervals_hold_about_as_many_labels_as_they_say():
    covered = []
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(TABLE))
        known, rest = order[:118], order[118:1118]
        ranker = Ranker(None, "gp", space=None).fit(TABLE.archs[known], ACCURACY[known])
        mean, std = ranker.predict(TABLE.archs[rest], return_std=True)
        intervals = [ranker.intervals(TABLE.archs[rest], level).T for level in (0.5, 0.8, 0.95)]
        for low, high in (*intervals, (mean - std, mean + std)):
            covered.append(((low <= ACCURACY[rest]) & (ACCURACY[rest] <= high)).mean())
    np.testing.assert_allclose(np.reshape(covered, (3, 4)).mean(axis=0), [0.5, 0.8, 0.95, 0.68], atol=0.1)
    assert ACCURACY.min() - 10 < mean.min() < mean.max() < 100  # on the scale of the labels


@pytest.mark.parametrize("trees", [0, 10])
def test_suggestions_equal_those_of_a_plain_loop(trees):
    """After each choice, the posterior is that of a process to which the chosen ones were labelled as expected."""
    subject = Ranker(None, "gp", space=None, trees=trees).fit(CELLS[TRAIN], CONVOLUTIONS[TRAIN])
    head, archs, columns = subject._fitted.head, CELLS[TEST], np.empty((160, 0))
    process = head.model.gp if trees else head.model
    mean, std = head.scores(archs, columns, with_noise=False)
    covariance = process.joint(head.blocks(archs, columns))[1]
    np.testing.assert_allclose(np.sqrt(covariance.diagonal()), std, atol=1e-6)
    chosen = []
    for _ in range(12):
        cross = covariance[:, chosen]
        noisy = covariance[np.ix_(chosen, chosen)] + process.theta.noise.item() * np.eye(len(chosen))
        left = covariance.diagonal() - (cross * np.linalg.solve(noisy, cross.T).T).sum(axis=1)
        upper = mean + 2 * np.sqrt(left)
        upper[chosen] = -np.inf
        chosen.append(int(np.argmax(upper)))
    assert head.choose(archs, columns, 12).tolist() == chosen
    assert chosen != np.argsort(-(mean + 2 * std), kind="stable")[:12].tolist()


def test_suggestions_are_good(fitted):
    assert np.median(ACCURACY[fitted.suggest(TABLE.archs, 20)]) > np.quantile(ACCURACY, 0.9)


# Any number of candidates


def test_parts_change_nothing(monkeypatch):
    subject = Ranker(new(), "gp", device="cpu", space=None).fit(CELLS[TRAIN], CONVOLUTIONS[TRAIN])
    whole = subject.predict(CELLS, return_std=True)
    monkeypatch.setattr(gp_head, "_AT_ONCE", 7)
    np.testing.assert_allclose(subject.predict(CELLS, return_std=True), whole, rtol=1e-4, atol=1e-5)
    assert subject.score(CELLS[TEST], CONVOLUTIONS[TEST]) > 0.7


def test_memory_does_not_grow_with_candidates(monkeypatch):
    monkeypatch.setattr(gp_head, "_AT_ONCE", 1_000)
    subject = Ranker(None, "gp", space=None).fit(CELLS[TRAIN], CONVOLUTIONS[TRAIN])
    peaks = []
    for count in (2_000, 15_000):
        archs = TABLE.archs[:count]
        tracemalloc.start()
        subject.predict(archs)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0] + 15_000 * 8 * 8


# Content


def test_content_is_what_stands_node_by_node():
    archs = ArchBatch.from_graphs(random_graphs(300, seed=1), VOCABULARY)
    assert len(np.unique(contents(archs))) == len({str(archs.graph(number)) for number in range(300)})
    assert np.array_equal(contents(archs[[7, 3, 7]]), contents(archs)[[7, 3, 7]])
    graphs = [(["input", "conv"], []), (["conv", "input"], []), (["input", "conv"], [(0, 1)]), (["input"], [])]
    assert len(np.unique(contents(ArchBatch.from_graphs(graphs, VOCABULARY)))) == 4


def test_deviations_grow_beyond_the_labels_and_not_in_the_middle():
    std = widened(np.full(5, 0.3), np.array([-9, -2.5, 0, 2.5, 9]), 118)
    assert std[2] == pytest.approx(0.3)
    assert std[[4, 3]] == pytest.approx(std[[0, 1]])
    assert std[0] > std[1] > 0.34
    z = np.sort(np.random.default_rng(0).normal(size=(4000, 118)))[:, 109]  # the quantile at 109.5 / 118
    p = 109.5 / 118
    excess = widened(np.zeros(1), np.array([ndtri(p)]), 118)[0] ** 2
    assert excess == pytest.approx(z.var() - np.pi / 2 / 118, rel=0.15)
