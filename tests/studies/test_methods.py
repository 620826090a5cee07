import re
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import kendalltau

from archflow.pretraining.registry import tasks
from archflow.studies.grids import proxies_read
from archflow.studies.methods import METHODS, PRETEXTS, Method, best_epoch, method, perform, takes_encoder
from archflow.studies.protocol import GridPoint, LabelledTable, Run
from tests.studies import TABLE


def ranked(head, table=TABLE, seed=0, number=0):
    data = LabelledTable(table)
    point = GridPoint("nasbench201", "none", "none", head, 0.05, 1.0, seed, number)
    run = Run(**vars(point), source=data.source(proxies_read(point, "closed-form")))
    return perform(run, data, None, "cpu")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("none", ("none", "finetune")),
        ("fgp", ("fgp", "finetune")),
        ("fgp-2-rounds", ("fgp-2-rounds", "finetune")),
        ("gmae+finetune", ("gmae", "finetune")),
        ("random", ("none", "random")),
        ("proxy:flops", ("none", "proxy:flops")),
    ],
)
def test_a_method_is_a_pretext_and_a_head(name, expected):
    assert method(name) == Method(*expected)


@pytest.mark.parametrize("name", ["magic", "fgp+magic", "magic+finetune", ""])
def test_an_unknown_method_lists_the_known_ones(name):
    with pytest.raises(ValueError, match=rf"^unknown method '{re.escape(name)}'.*none, fgp, .*random, proxy:NAME"):
        method(name)


def test_every_named_method_has_a_known_task_and_head():
    assert {each.task for each in PRETEXTS.values()} <= {"none", *tasks()}
    for name, each in METHODS.items():
        assert method(name) == each
        takes_encoder(each.head)
    with pytest.raises(ValueError, match=r"^unknown head 'nope'; known: finetune, .*random, proxy:NAME$"):
        takes_encoder("nope")


@pytest.mark.parametrize("sign", [1, -1])
def test_a_proxy_by_itself_ranks_as_the_labels_say(sign):
    values = sign * np.log(TABLE.space.parameters(TABLE.archs))
    table = replace(TABLE, columns={**TABLE.columns, "mine": values})
    part = LabelledTable(table).split(0.05, 0)
    found = ranked("proxy:mine", table)
    assert found.tau == pytest.approx(sign * kendalltau(TABLE["accuracy"][part.test], values[part.test]).statistic)
    assert found.tau > 0.3
    assert (found.labelled, found.validation, found.test) == (16, 40, 279)
    assert (found.validation_tau, found.best_epoch) == (None, None)


def test_what_a_proxy_does_not_know_ranks_last():
    values = np.where(np.arange(640) % 3, TABLE["accuracy"], np.nan)
    found = ranked("proxy:mine", replace(TABLE, columns={**TABLE.columns, "mine": values}))
    assert 0.3 < found.tau < 1
    nothing = ranked("proxy:mine", replace(TABLE, columns={**TABLE.columns, "mine": np.full(640, np.nan)}))
    assert np.isnan(nothing.tau)


def test_random_is_random_and_repeats():
    taus = [ranked("random", seed=seed, number=number).tau for seed in (0, 1) for number in (0, 1)]
    assert len(set(taus)) == 4
    assert max(map(abs, taus)) < 0.2
    assert ranked("random").tau == taus[0]


@pytest.mark.parametrize(
    ("taus", "tau", "epoch"), [([0.1, 0.5, 0.2], 0.5, 2), ([np.nan, 0.2, np.nan], 0.2, 2), ([np.nan] * 3, np.nan, 3)]
)
def test_the_best_epoch_where_tau_is_not_always_defined(taus, tau, epoch):
    found = best_epoch(taus)
    assert found[0] == pytest.approx(tau, nan_ok=True)
    assert found[1] == epoch
