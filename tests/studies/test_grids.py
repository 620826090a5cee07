from dataclasses import replace

import pytest

from archflow.ranking.finetune import FinetuneSettings
from archflow.studies.grids import BUDGETS, PUBLISHED, STUDIES, grid, run_at
from archflow.studies.protocol import GridPoint, Source


def run(point, budget=BUDGETS["published"]):
    return run_at(point, Source("t", "a", 100, "archs", "accuracy", budget.proxies_at(point).proxies, ""), budget)


@pytest.mark.parametrize("name", STUDIES)
def test_a_grid_combines_all_values_but_has_runs_without_pre_training_once(name):
    study = STUDIES[name]
    found = list(grid(study, {}, [3, 4], 2))
    trained = [pretext for pretext in study.pretexts if pretext != "none"]
    rest = len(study.spaces) * len(study.encoders) * len(study.labels) * 2 * 2
    assert len(found) == rest * (len(trained) * len(study.shares) + ("none" in study.pretexts))
    assert len(set(found)) == len(found)
    runs = [run(point) for point in found]
    assert len({each.key for each in runs}) == len(runs)
    assert {point.seed for point in found} == {3, 4}
    assert {point.split for point in found} == {0, 1}
    for point in found:
        if point.pretext == "none":
            assert point.share == 1
    seen = [each.encoder_key for each in runs]
    assert all(key not in seen[:start] for start, key in enumerate(seen) if start and seen[start - 1] != key)


def test_added_values_appear_once():
    plain = list(grid(STUDIES["encoders"], {}, [0], 1))
    more = list(grid(STUDIES["encoders"], {"encoder": ["gin", "gin", "mlp"], "pretext": ["fgp-2-rounds"]}, [0], 1))
    assert len(plain) == 3 * 3 * 3
    assert len(set(more)) == len(more) == 3 * 4 * 4
    assert set(plain) < set(more)


@pytest.mark.parametrize(("axis", "known"), [("encoder", "digcn, flowerformer, gin"), ("pretext", "none, graphcl")])
def test_an_unknown_value_lists_the_known_ones(axis, known):
    with pytest.raises(ValueError, match=f"^unknown {axis} 'nope'; known: .*{known}"):
        list(grid(STUDIES["table1"], {axis: ["nope"]}, [0], 1))


def test_a_head_that_needs_no_encoder_appears_once_without_one():
    added = {"head": ["random", "proxy:flops"]}
    plain = list(grid(STUDIES["table1"], {}, [0], 2))
    more = [point for point in grid(STUDIES["table1"], added, [0], 2) if point not in plain]
    assert [(p.space, p.encoder, p.pretext, p.head, p.split) for p in more] == [
        (space, "none", "none", head, number)
        for space in STUDIES["table1"].spaces
        for head in ("random", "proxy:flops")
        for number in (0, 1)
    ]
    assert {BUDGETS["published"].proxies_at(point) for point in more} == {("none", "none"), ("none", "flops")}


def test_every_published_row_is_in_a_study():
    for space, encoder, pretext in PUBLISHED:
        assert any(
            space in study.spaces and encoder in study.encoders and pretext in study.pretexts
            for study in STUDIES.values()
        )


def test_draws_differ_in_the_draw_only():
    points = [GridPoint("nasbench201", "resgatedgcn", f"fgp-draw-{n}", "finetune", 0.01, 1.0, 0, 0) for n in range(5)]
    runs = [run(point) for point in points]
    assert [each.task_settings for each in runs] == [{"draw_seed": 1000 + number} for number in range(5)]
    assert len({replace(each, pretext="", task_settings={}).key for each in runs}) == 1


def test_sizes_and_epochs_of_a_budget():
    point = GridPoint("nasbench101", "resgatedgcn", "fgp", "finetune", 0.01, 1.0, 0, 3)
    published = run(point)
    assert (published.encoder_settings, published.pretraining.epochs) == ({"hidden": 256}, 200)
    assert published.head_settings == FinetuneSettings(epochs=200, max_pairs=128)
    small = run(point, BUDGETS["two-cores"])
    assert (small.encoder_settings, small.pretraining.epochs) == ({}, 20)
    short = run(point, BUDGETS["published"].with_epochs(7, 9))
    assert (short.pretraining.epochs, short.head_settings) == (7, FinetuneSettings(epochs=9, max_pairs=128))
    other = run(replace(point, space="nasbench201", seed=4))
    assert (other.encoder_settings, other.head_settings) == ({}, FinetuneSettings())
    assert (other.source.proxies, other.pretraining.seed) == ("measured/jacov", 4)
    former = run(replace(point, encoder="flowerformer"), BUDGETS["two-cores"])
    assert former.encoder_settings == {"hidden": 32, "layers": 3, "heads": 4}
