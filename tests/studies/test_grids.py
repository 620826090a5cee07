from dataclasses import fields, replace

import pytest
from archflow.studies.runs import Cell, digest
from hypothesis import given
from hypothesis import strategies as st

from archflow.pretraining.registry import tasks
from archflow.studies.grids import BUDGETS, PRETEXTS, PUBLISHED, STUDIES, Point, points

CELL = Cell(
    **{"space": "nasbench201", "encoder": "gin", "pretext": "fgp", "labels": 0.01, "share": 1.0, "seed": 0, "split": 0},
    **{"table": "t", "data": "d", "encoder_settings": {"hidden": 8}, "task": "fgp", "task_settings": {"lambda1": 0.1}},
    **{"proxy": "flops", "pretraining": {"epochs": 5}, "fine_tuning": {"epochs": 3}},
)
OTHER = {
    **{"space": "darts", "encoder": "mlp", "labels": 0.1, "share": 0.5, "seed": 1, "split": 1},
    **{"table": "u", "data": "e", "encoder_settings": {"hidden": 9}, "task": "zero-cost", "task_settings": {}},
    **{"proxy": "none", "pretraining": {"epochs": 6}, "fine_tuning": {}, "code": "of one's own"},
}


def test_keys_stay_what_they_were():
    """Else the results that people have would be made again."""
    for study, first, last in [
        ("table1", "2c6e0f1210c6eee1", "55525e622fe812fd"),
        ("label-ratio", "2c6e0f1210c6eee1", "6673c8f4e08f1ff4"),
        ("pool-only", "2c6e0f1210c6eee1", "ae68bb0183e469e0"),
        ("draws", "fc11099004fc7b51", "b611537e02ef0b0b"),
    ]:
        places = list(points(STUDIES[study], {}, range(2), 2))
        assert places[0].cell("t", "d", BUDGETS["published"]).key == first
        assert places[-1].cell("t", "d", BUDGETS["two-cores"], 3).key == last


@pytest.mark.parametrize("name", sorted(OTHER))
def test_a_key_says_each_setting(name):
    changed = replace(CELL, **{name: OTHER[name]})
    assert changed.key != CELL.key
    shared = name in ("labels", "fine_tuning", "split")  # what an encoder does not depend on
    assert (changed.encoder_key == CELL.encoder_key) == shared


def test_every_setting_is_tried_but_the_name_that_a_study_gives():
    assert {field.name for field in fields(Cell)} - OTHER.keys() == {"pretext"}
    assert replace(CELL, pretext="the same by another name").key == CELL.key


def test_the_pool_is_another_for_each_split():
    pool = replace(CELL, share="pool")
    assert pool.encoder_key != replace(pool, split=1).encoder_key


@pytest.mark.parametrize("name", ["share", "task_settings", "proxy", "pretraining", "pretext"])
def test_what_is_not_pre_trained_depends_on_nothing_of_it(name):
    plain = replace(CELL, task="none")
    changed = replace(plain, **{name: {**OTHER, "pretext": "x"}[name]})
    assert (changed.key, changed.encoder_key) == (plain.key, plain.encoder_key)


@given(st.dictionaries(st.text(), st.one_of(st.integers(), st.floats(allow_nan=False), st.text()), max_size=5))
def test_a_digest_does_not_depend_on_the_order(settings):
    assert digest(settings) == digest(dict(reversed(settings.items())))
    assert digest({**settings, "one": 1}) != digest({**settings, "one": 2})


@pytest.mark.parametrize("name", STUDIES)
def test_a_grid_is_every_value_with_every_other_but_nothing_is_pre_trained_once(name):
    study = STUDIES[name]
    found = list(points(study, {}, [3, 4], 2))
    trained = [pretext for pretext in study.pretexts if pretext != "none"]
    rest = len(study.spaces) * len(study.encoders) * len(study.labels) * 2 * 2
    assert len(found) == rest * (len(trained) * len(study.shares) + ("none" in study.pretexts))
    assert len(set(found)) == len(found)
    cells = [point.cell("t", "d", BUDGETS["published"]) for point in found]
    assert len({cell.key for cell in cells}) == len(cells)
    assert {point.seed for point in found} == {3, 4}
    assert {point.split for point in found} == {0, 1}
    for point in found:
        if point.pretext == "none":
            assert point.share == 1
    seen = [cell.encoder_key for cell in cells]
    assert all(key not in seen[:start] for start, key in enumerate(seen) if start and seen[start - 1] != key)


def test_values_may_be_added_once():
    plain = list(points(STUDIES["encoders"], {}, [0], 1))
    more = list(points(STUDIES["encoders"], {"encoder": ["gin", "gin", "mlp"], "pretext": ["fgp-2-rounds"]}, [0], 1))
    assert len(plain) == 3 * 3 * 3
    assert len(set(more)) == len(more) == 3 * 4 * 4
    assert set(plain) < set(more)


@pytest.mark.parametrize(("axis", "known"), [("encoder", "digcn, flowerformer, gin"), ("pretext", "none, graphcl")])
def test_an_unknown_value_lists_the_known_ones(axis, known):
    with pytest.raises(ValueError, match=f"^unknown {axis} 'nope'; known: .*{known}"):
        list(points(STUDIES["table1"], {axis: ["nope"]}, [0], 1))


def test_every_pretext_is_of_a_task_that_is_known():
    assert {task for task, _ in PRETEXTS.values()} <= {"none", *tasks()}
    for space, encoder, pretext in PUBLISHED:
        assert any(
            space in study.spaces and encoder in study.encoders and pretext in study.pretexts
            for study in STUDIES.values()
        )


def test_draws_differ_in_the_draw_only():
    cells = [
        Point("nasbench201", "resgatedgcn", f"fgp-draw-{number}", 0.01, 1.0, 0, 0).cell("t", "d", BUDGETS["published"])
        for number in range(5)
    ]
    assert [cell.task_settings for cell in cells] == [{"draw_seed": 1000 + number} for number in range(5)]
    assert len({replace(cell, pretext="", task_settings={}).key for cell in cells}) == 1


def test_sizes_and_epochs_of_a_budget():
    point = Point("nasbench101", "resgatedgcn", "fgp", 0.01, 1.0, 0, 0)
    published = point.cell("t", "d", BUDGETS["published"])
    assert (published.encoder_settings, published.pretraining) == ({"hidden": 256}, {"epochs": 200})
    assert published.fine_tuning == {"epochs": 200, "max_pairs": 128}
    small = point.cell("t", "d", BUDGETS["two-cores"])
    assert (small.encoder_settings, small.pretraining) == ({}, {"epochs": 20})
    short = point.cell("t", "d", BUDGETS["published"], 7, 9)
    assert (short.pretraining, short.fine_tuning) == ({"epochs": 7}, {"epochs": 9, "max_pairs": 128})
    assert BUDGETS["published"].tuning["nasbench101"] == {"epochs": 200, "max_pairs": 128}  # not changed by the way
    other = replace(point, space="nasbench201").cell("t", "d", BUDGETS["published"])
    assert (other.encoder_settings, other.fine_tuning, other.proxy) == ({}, {}, "measured/jacov")
