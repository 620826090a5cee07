from dataclasses import fields, replace

import numpy as np
import pytest

from archflow.benchmarks.table import Table
from archflow.benchmarks.tables import table
from archflow.pretraining.loop import PretrainSettings
from archflow.ranking.finetune import FinetuneSettings
from archflow.studies.protocol import LabelledTable, Run, Source, changed, default_pool, split
from tests.studies import SPACE, TABLE

# Splits


@pytest.mark.parametrize(("labels", "labelled"), [(0.01, 78), (0.05, 390), (0.1, 781)])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_published_splits_of_nasbench201(labels, labelled, number):
    data = LabelledTable(table("nasbench201/analog"))
    part = data.split(labels, number)
    assert data.pool == 7_813
    assert (len(part.labelled), len(part.validation), len(part.test)) == (labelled, 40, 15_625 - 7_813 - 40)
    order = np.random.default_rng(number).permutation(15_625)
    assert np.array_equal(part.labelled, order[:labelled])
    assert np.array_equal(part.validation, order[7_813:7_853])
    assert np.array_equal(part.test, order[7_853:])
    everything = np.concatenate(part)
    assert len(np.unique(everything)) == len(everything)


def test_the_published_pool_of_nasbench101():
    pool = default_pool("nasbench101", 423_624)
    assert pool == 7_290
    assert [len(split(423_624, pool, share, 0).labelled) for share in (0.01, 0.05, 0.1)] == [72, 364, 729]


@pytest.mark.parametrize(("count", "most"), [(300, 151), (85, 43)])
def test_the_pool_of_a_small_table_leaves_test_architectures(count, most):
    assert 2 <= default_pool("nasbench201", count) <= most
    assert len(split(count, default_pool("nasbench201", count), 0.5, 0).test) >= 2


def test_larger_labelled_sets_contain_smaller_ones_and_the_other_parts_stay_the_same():
    one, five, ten = (split(15_625, 7_813, share, 4) for share in (0.01, 0.05, 0.1))
    assert np.array_equal(five.labelled[:78], one.labelled)
    assert np.array_equal(ten.labelled[:390], five.labelled)
    assert np.array_equal(one.validation, ten.validation)
    assert np.array_equal(one.test, ten.test)


def test_a_split_is_repeatable_and_differs_from_the_others():
    first, again, other = split(300, 100, 0.1, 0), split(300, 100, 0.1, 0), split(300, 100, 0.1, 1)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert set(first.labelled) != set(other.labelled)
    assert set(first.validation) != set(other.validation)


@pytest.mark.parametrize(("labels", "labelled"), [(0.29, 29), (1.0, 100), (0.02, 2), (56, 56)])
def test_rounding_loses_no_label_and_values_above_one_are_counts(labels, labelled):
    assert len(split(300, 100, labels, 1).labelled) == labelled  # 0.29 × 100 is 28.999999999999996
    assert np.array_equal(split(300, 100, labels, 1).labelled, split(300, 100, 1.0, 1).labelled[:labelled])


@pytest.mark.parametrize("labels", [0, 0.0199, 1e-9, -0.1, -3, 1.01, 1.5, 101, float("nan"), float("inf")])
def test_too_few_labels_are_refused(labels):
    with pytest.raises(ValueError, match=r"of a pool of 100 out of 300 does not leave two labels or more"):
        split(300, 100, labels, 0)


@pytest.mark.parametrize(("count", "pool"), [(300, 259), (300, 300), (300, 1_000), (300, 0), (300, -5), (50, 25)])
def test_a_pool_that_does_not_fit_is_refused(count, pool):
    with pytest.raises(ValueError, match="does not leave"):
        split(count, pool, 0.5, 0)
    assert len(split(300, 258, 0.5, 0).test) == 2


# Tables with accuracies


def test_architectures_without_an_accuracy_are_in_no_split():
    known = np.random.default_rng(5).random(640) > 0.3
    data = LabelledTable(replace(TABLE, columns={"a": np.where(known, TABLE["accuracy"], np.nan)}), "a")
    rows = np.flatnonzero(known)
    for part, its in zip(data.split(0.1, 1), split(len(rows), len(rows) // 2 + 1, 0.1, 1), strict=True):
        assert np.array_equal(part, rows[its])
    assert np.array_equal(data.pretraining_rows(1.0, 0, 0), np.arange(640))
    assert set(data.pretraining_rows("pool", 0, 1)) < set(rows)


@pytest.mark.parametrize(
    ("accuracy", "reason"),
    [
        (np.full(640, np.nan), "has no values"),
        (np.where(np.arange(640) == 7, np.inf, TABLE["accuracy"]), "infinity"),
        (np.ones(640), "equal"),
    ],
    ids=["nothing", "infinity", "equal"],
)
def test_accuracies_that_cannot_be_ranked(accuracy, reason):
    with pytest.raises(ValueError, match=rf"'accuracy'.*{reason}|{reason}.*'accuracy'"):
        LabelledTable(replace(TABLE, columns={"accuracy": accuracy}))


def test_a_table_without_a_default_column_needs_a_named_one():
    with pytest.raises(ValueError, match=r"the table tiny does not say which of its columns .* name one of: accuracy$"):
        LabelledTable(replace(TABLE, default=""))


def test_different_data_give_different_sources():
    columns = {"accuracy": TABLE["accuracy"], "own": np.arange(640.0)}
    source = LabelledTable(replace(TABLE, columns=columns)).source("own,flops", "own")
    assert source.proxy_values
    assert source == LabelledTable(replace(TABLE, columns=columns)).source("own,flops", "own")
    others = [
        replace(TABLE, columns={**columns, "own": columns["own"] + 1}),
        replace(TABLE, columns={**columns, "accuracy": -TABLE["accuracy"]}),
        replace(TABLE, columns=columns, archs=TABLE.archs[np.arange(640)[::-1]]),
    ]
    changes = [
        {f.name for f in fields(Source) if getattr(source, f.name) != getattr(other, f.name)}
        for other in (LabelledTable(table).source("own,flops", "own") for table in others)
    ]
    assert changes == [{"proxy_values", "head_proxy_values"}, {"accuracy"}, {"archs"}]
    assert LabelledTable(TABLE).source("closed-form").proxy_values == ""


def test_pre_training_on_a_pool_or_a_share():
    data = LabelledTable(Table("t", SPACE, TABLE.archs, {"a": TABLE["accuracy"]}, "a"))
    part = data.split(0.01, 1)
    assert np.array_equal(data.pretraining_rows("pool", 0, 1), np.sort(np.random.default_rng(1).permutation(640)[:321]))
    assert set(part.labelled) < set(data.pretraining_rows("pool", 0, 1))
    fifth, most = data.pretraining_rows(0.2, 0, 1), data.pretraining_rows(0.6, 0, 1)
    assert (len(fifth), len(most)) == (128, 384)
    assert set(fifth) < set(most)
    assert set(fifth) != set(data.pretraining_rows(0.2, 1, 1))
    for rows in data.split(0.1, 1):  # the share is independent of any split
        assert len(set(fifth) & set(rows)) < 0.5 * len(rows)


# Keys

SOURCE = Source("t", "a", 100, "archs", "accuracy", "flops", "", "closed-form", "")
RUN = Run(
    *("nasbench201", "gin", "fgp", "finetune", 0.01, 1.0, 0, 0),
    **{"source": SOURCE, "encoder_settings": {"hidden": 8}, "task": "fgp", "task_settings": {"lambda1": 0.1}},
    **{"pretraining": PretrainSettings(epochs=5), "head_settings": FinetuneSettings(epochs=3)},
)
OTHER = {
    **{"space": "darts", "encoder": "mlp", "head": "gp", "labels": 0.1, "share": 0.5, "seed": 1, "split": 1},
    **{"encoder_settings": {"hidden": 9}, "task": "zero-cost", "task_settings": {}, "code": "own", "head_code": "own"},
    **{"pretraining": PretrainSettings(epochs=6), "head_settings": FinetuneSettings()},
}
OTHER_SOURCE = {"column": "b", "pool": 99, "archs": "x", "accuracy": "x", "proxies": "none", "proxy_values": "x"}
OTHER_SOURCE |= {"head_proxies": "flops", "head_proxy_values": "x"}
NOT_THE_ENCODERS = ("head", "labels", "split", "head_settings", "head_code", "column", "pool", "accuracy")
NOT_THE_ENCODERS += ("head_proxies", "head_proxy_values")


@pytest.mark.parametrize("name", sorted(OTHER | OTHER_SOURCE))
def test_a_key_depends_on_each_setting(name):
    if name in OTHER:
        other = replace(RUN, **{name: OTHER[name]})
    else:
        other = replace(RUN, source=replace(SOURCE, **{name: OTHER_SOURCE[name]}))
    assert other.key != RUN.key
    assert (other.encoder_key == RUN.encoder_key) == (name in NOT_THE_ENCODERS)


def test_every_setting_is_covered_except_names_without_effect():
    assert {field.name for field in fields(Run)} - OTHER.keys() == {"pretext", "source"}
    assert {field.name for field in fields(Source)} - OTHER_SOURCE.keys() == {"table"}
    assert replace(RUN, pretext="the same by another name", source=replace(SOURCE, table="u")).key == RUN.key


def test_pre_training_on_the_pool_depends_on_split_and_column():
    pool = replace(RUN, share="pool")
    assert pool.encoder_key != replace(pool, split=1).encoder_key
    assert pool.encoder_key != replace(pool, source=replace(SOURCE, accuracy="x")).encoder_key


@pytest.mark.parametrize("name", ["share", "task_settings", "pretraining", "pretext"])
def test_without_pre_training_its_settings_do_not_matter(name):
    plain = replace(RUN, task="none")
    changed_run = replace(plain, **{name: {**OTHER, "pretext": "x"}[name]})
    assert (changed_run.key, changed_run.encoder_key) == (plain.key, plain.encoder_key)
    other_proxies = replace(plain, source=replace(SOURCE, proxies="none"))
    assert other_proxies.key == plain.key


def test_settings_that_equal_their_defaults_do_not_enter_keys():
    assert changed(FinetuneSettings()) == changed(None) == {}
    assert changed(FinetuneSettings(epochs=3)) == {"epochs": 3}
