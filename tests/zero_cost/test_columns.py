"""Columns of proxy values by their names."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import archflow
from archflow.archs.batch import ArchBatch
from archflow.benchmarks.table import Table
from archflow.benchmarks.tables import keep
from archflow.zero_cost.columns import measured_proxies, proxy_values
from tests.strategies import renumber

SPACE = archflow.space("darts")
ARCHS = SPACE.sample(4, seed=0)
ROWS = [2, 0, 1]
"""Of ``ARCHS``, those that were measured."""


@pytest.fixture
def kept(cache):
    """Measured proxies of three architectures of DARTS, as a user keeps them."""
    columns = {"params": np.arange(3.0), "nwot": np.array([5.0, -np.inf, 7.0]), "jacov": np.array([1.0, np.nan, 2.0])}
    return keep(Table("darts/proxies", SPACE, ARCHS[ROWS], columns))


def table(rows=(0, 1, 2, 3), **columns):
    return Table("mine", SPACE, ARCHS[list(rows)], columns)


def test_proxies_by_name():
    cells = archflow.space("nasbench201")
    mine = Table("mine", cells, cells.sample(30), {"noise": np.random.default_rng(0).normal(size=30)})
    parameters, flops = cells.parameters(mine.archs), cells.flops(mine.archs)
    assert np.array_equal(proxy_values(mine, "parameters"), parameters[:, None])
    assert np.array_equal(proxy_values(mine, "flops"), flops[:, None])
    assert np.array_equal(proxy_values(mine, "noise,flops"), np.stack([mine["noise"], flops], axis=1))
    assert proxy_values(mine, "none") is None
    closed = proxy_values(mine, "closed-form")
    assert np.array_equal(closed, np.stack([cells.proxy(name, mine.archs) for name in cells.proxies], axis=1))
    own = replace(mine, columns={"parameters": mine["noise"]})
    assert np.array_equal(proxy_values(own, "parameters"), mine["noise"][:, None])
    with pytest.raises(ValueError, match=r"unknown proxy 'luck'; known: closed-form, parameters, .*flops, none, noise"):
        proxy_values(mine, "luck")


def test_a_space_without_closed_forms():
    graphs = archflow.space("nasbench-graph")
    mine = Table("mine", graphs, graphs.sample(5), {})
    assert proxy_values(mine, "closed-form") is None
    with pytest.raises(ValueError, match=r"no closed form for parameters.*<dataset>/para"):
        proxy_values(mine, "parameters")


def test_all_measured_proxies(kept):
    found = proxy_values(table(), "measured")
    assert found.shape == (4, 3)
    for column, (name, values) in enumerate(kept.columns.items()):
        assert np.array_equal(found[ROWS, column], values, equal_nan=True)
        assert np.array_equal(measured_proxies(table())[f"measured/{name}"], found[:, column], equal_nan=True)
    assert np.isnan(found[3]).all()


@pytest.mark.usefixtures("kept")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(st.lists(st.integers(0, 3), min_size=1))
def test_measured_proxies_stand_with_their_architectures(rows):
    found = proxy_values(table(rows), "measured/nwot")
    assert found.shape == (len(rows), 1)
    assert np.array_equal(found, proxy_values(table(), "measured/nwot")[rows], equal_nan=True)


def test_a_renumbered_architecture_is_found(cache):
    cells, rng = archflow.space("nasbench101"), np.random.default_rng(0)
    archs = cells.sample(3, seed=0)
    keep(Table("nasbench101/proxies", cells, archs, {"nwot": np.arange(3.0)}))
    others = ArchBatch.from_graphs([renumber(archs.graph(row), rng) for row in (2, 0)], cells.vocabulary)
    assert proxy_values(Table("mine", cells, others, {}), "measured").tolist() == [[2], [0]]


def test_measured_proxies_among_others(kept):
    mine = table(own=np.arange(4.0))
    found = proxy_values(mine, "own,measured/jacov,none,flops,measured/params")
    expected = [mine["own"], proxy_values(mine, "measured/jacov")[:, 0], SPACE.flops(ARCHS)]
    expected.append(proxy_values(mine, "measured/params")[:, 0])
    assert np.array_equal(found, np.stack(expected, axis=1), equal_nan=True)


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize("name", ["measured/nope", "measured/", "measured/nwot/", "Measured", "nwot"])
def test_an_unknown_measured_proxy(name):
    with pytest.raises(ValueError, match=f"unknown proxy '{name}'; known: closed-form, ") as caught:
        proxy_values(table(), f"flops,{name}")
    if "measured" in name:
        assert str(caught.value).endswith("measured, measured/params, measured/nwot, measured/jacov")


@pytest.mark.parametrize("names", ["measured", "measured/nwot", "flops,measured"])
def test_a_space_without_measured_proxies(cache, names):
    with pytest.raises(ValueError, match=r"^there are no measured proxies of darts: make them with archflow proxies,"):
        proxy_values(table(), names)


def test_a_column_of_ones_own_is_no_measured_proxy(cache):
    mine = table(latency_measured=np.arange(4.0))
    assert np.array_equal(proxy_values(mine, "latency_measured"), np.arange(4.0)[:, None])
