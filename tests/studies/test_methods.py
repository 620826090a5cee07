import re
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import kendalltau

from archflow.benchmarks.registry import space as table_space
from archflow.pretraining.registry import tasks
from archflow.studies.methods import (
    METHODS,
    PRETEXTS,
    best_epoch,
    head_proxies,
    head_settings,
    method,
    perform,
    takes_encoder,
)
from archflow.studies.protocol import GridPoint, LabelledTable, Run
from archflow.studies.rivals import BLOCKS
from tests.studies import SPACE, TABLE


def ranked(head, table=TABLE, seed=0, number=0):
    data = LabelledTable(table)
    point = GridPoint("nasbench201", "none", "none", head, 0.05, 1.0, seed, number)
    run = Run(
        **vars(point),
        source=data.source("none", head_proxies(head, table.space, "closed-form")),
        head_settings=head_settings(head),
    )
    return perform(run, data, None, "cpu")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("none", ("none", "finetune", True)),
        ("fgp", ("fgp", "finetune", True)),
        ("fgp-2-rounds", ("fgp-2-rounds", "finetune", True)),
        ("gmae+gp", ("gmae", "gp", True)),
        ("none+gp", ("none", "gp", True)),
        ("gp", ("none", "gp", False)),
        ("random", ("none", "random", False)),
        ("proxy:flops", ("none", "proxy:flops", False)),
    ],
)
def test_a_method_is_a_pretext_and_a_head(name, expected):
    assert method(name) == expected


@pytest.mark.parametrize("name", ["magic", "fgp+magic", "magic+finetune", ""])
def test_an_unknown_method_lists_the_known_ones(name):
    with pytest.raises(
        ValueError, match=rf"^unknown method '{re.escape(name)}'.*none, .*fgp, .*gp, .*random, .*proxy:NAME"
    ):
        method(name)


def test_every_named_method_has_a_known_task_and_head():
    assert {each.task for each in PRETEXTS.values()} <= {"none", *tasks()}
    for name, each in METHODS.items():
        assert method(name) == each
        takes_encoder(each.head)
    with pytest.raises(ValueError, match=r"^unknown head 'nope'; known: finetune, gp, .*random, .*proxy:NAME$"):
        takes_encoder("nope")


@pytest.mark.parametrize("sign", [1, -1])
def test_a_single_proxy_takes_its_sign_from_the_labels(sign):
    values = sign * np.log(TABLE.space.parameters(TABLE.archs))
    table = replace(TABLE, columns={**TABLE.columns, "mine": values})
    part = LabelledTable(table).split(0.05, 0)
    found = ranked("proxy:mine", table)
    assert found.tau == pytest.approx(sign * kendalltau(TABLE["accuracy"][part.test], values[part.test]).statistic)
    assert found.tau > 0.3
    assert (found.labelled, found.validation, found.test) == (16, 40, 279)
    assert (found.validation_tau, found.best_epoch) == (None, None)


def test_architectures_without_a_proxy_value_rank_last():
    values = np.where(np.arange(640) % 3, TABLE["accuracy"], np.nan)
    found = ranked("proxy:mine", replace(TABLE, columns={**TABLE.columns, "mine": values}))
    assert 0.3 < found.tau < 1
    nothing = ranked("proxy:mine", replace(TABLE, columns={**TABLE.columns, "mine": np.full(640, np.nan)}))
    assert np.isnan(nothing.tau)


def test_random_scores_are_random_and_repeatable():
    taus = [ranked("random", seed=seed, number=number).tau for seed in (0, 1) for number in (0, 1)]
    assert len(set(taus)) == 4
    assert max(map(abs, taus)) < 0.2
    assert ranked("random").tau == taus[0]


@pytest.mark.parametrize(
    ("taus", "tau", "epoch"), [([0.1, 0.5, 0.2], 0.5, 2), ([np.nan, 0.2, np.nan], 0.2, 2), ([np.nan] * 3, np.nan, 3)]
)
def test_the_best_epoch_if_tau_is_sometimes_undefined(taus, tau, epoch):
    found = best_epoch(taus)
    assert found[0] == pytest.approx(tau, nan_ok=True)
    assert found[1] == epoch


@pytest.mark.parametrize("head", ["gp", "trees", "gp-proxies", "gp-paths", "gp-onehot", "gp-wl"])
def test_a_rival_learns_from_all_labels(head):
    """The ranking changes if only the validation labels are permuted."""
    found = ranked(head)
    assert found.tau > 0.25
    accuracy = TABLE["accuracy"].copy()
    validation = LabelledTable(TABLE).split(0.05, 0).validation
    accuracy[validation] = accuracy[validation[::-1]]
    assert ranked(head, replace(TABLE, columns={"accuracy": accuracy})).tau != found.tau
    assert ranked(head).tau == found.tau


def test_which_proxies_heads_read():
    own = "closed-form,mine,measured/jacov,flops"
    assert head_proxies("gp", SPACE, own) == head_proxies("trees", SPACE, own) == "closed-form,measured,mine"
    assert head_proxies("gp-proxies", table_space("nasbench101"), "none") == "closed-form"
    for head in ("finetune", "random", "gp-paths", "gp-onehot", "gp-wl"):
        assert head_proxies(head, SPACE, own) == "none"


def test_one_hot_decisions_and_neighbourhoods_match_a_plain_computation():
    data = LabelledTable(TABLE)
    part, rows = data.split(0.05, 0), np.array([5, 3])
    onehot = BLOCKS["onehot"](data, part, None)(rows)
    assert onehot.shape == (2, 6 * 5)
    assert np.array_equal(onehot.reshape(2, 6, 5).argmax(2), SPACE.encode(TABLE.archs[rows]))
    counts = BLOCKS["wl"](data, part, None)(rows)
    operations = [np.bincount(TABLE.archs[[row]].operations, minlength=7) for row in rows]
    labelled = np.concatenate([part.labelled, part.validation])
    known = np.unique(TABLE.archs[labelled].operations)
    assert np.array_equal(counts[:, : len(known)], np.array(operations)[:, known])
    assert counts.shape[1] > 50
