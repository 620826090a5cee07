import statistics
from itertools import product

import numpy as np
import pytest

from archflow.studies.probe import probe_table
from archflow.studies.speed import speed_table
from archflow.studies.tables import draws_table, ranking_table, rows
from tests.studies import line


def parsed(table):
    """The rows of a Markdown table as dicts by heading; a repeated heading gets a "'"."""
    head, rule, *body = [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()]
    assert set("".join(rule)) <= set("-: ")
    names = [name + "'" * head[:place].count(name) for place, name in enumerate(head)]
    assert all(len(row) == len(names) for row in body)
    return [dict(zip(names, row, strict=True)) for row in body]


def runs(pretext, taus, **changes):
    return [
        line(f"{pretext}{changes}{number}", pretext=pretext, seed=number // 3, split=number % 3, tau=tau, **changes)
        for number, tau in enumerate(taus)
    ]


def test_means_deviations_the_best_and_published_scores():
    taus = {"none": [0.7, 0.75, 0.71], "fgp": [0.8, 0.85, 0.83], "graphcl": [0.6, 0.6, 0.9]}
    lines = [each for name in taus for each in runs(name, taus[name])]
    none, fgp, graphcl = parsed(ranking_table(lines))
    for row, name in ((none, "none"), (fgp, "fgp"), (graphcl, "graphcl")):
        mean, deviation = 100 * statistics.mean(taus[name]), 100 * statistics.stdev(taus[name])
        assert row["τ"].strip("*") == f"{mean:.1f} ± {deviation:.1f}"
        assert (row["space"], row["encoder"], row["pretext"], row["runs"]) == ("nasbench201", "resgatedgcn", name, "3")
        assert (row["P@5%"].strip("*"), row["validation τ"], row["seconds"]) == ("25.0 ± 0.0", "50.0", "3")
    assert (fgp["τ"][:2], none["τ"][0], graphcl["τ"][0]) == ("**", "7", "7")
    assert (none["published"], none["published'"]) == ("73.4", "29.7")
    assert (fgp["published"], fgp["published'"]) == ("82.2", "48.9")
    assert (graphcl["published"], graphcl["published'"]) == ("", "")


def test_published_scores_appear_only_for_one_percent_and_the_whole_space():
    lines = [*runs("fgp", [0.5], labels=0.05), *runs("fgp", [0.6], share=0.2), *runs("fgp", [0.7])]
    five, fifth, whole = parsed(ranking_table(lines))
    assert (five["labels"], five["share"], five["published"]) == ("5%", "100%", "")
    assert (fifth["labels"], fifth["share"], fifth["published"]) == ("1%", "20%", "")
    assert (whole["labels"], whole["share"], whole["published"]) == ("1%", "100%", "82.2")


def test_only_rows_of_the_same_space_and_encoder_are_compared():
    lines = [
        *(each for space in ("nasbench101", "nasbench201") for each in runs("none", [0.1], space=space)),
        *runs("fgp", [0.2], space="nasbench101"),
        *runs("fgp", [0.9], encoder="gin"),
    ]
    found = {(row["space"], row["encoder"], row["pretext"]): row["τ"] for row in parsed(ranking_table(lines))}
    assert found == {
        ("nasbench101", "resgatedgcn", "none"): "10.0",
        ("nasbench101", "resgatedgcn", "fgp"): "**20.0**",
        ("nasbench201", "resgatedgcn", "none"): "10.0",
        ("nasbench201", "gin", "fgp"): "90.0",
    }


@pytest.mark.parametrize("order", [1, -1])
def test_an_undefined_score_is_not_the_best_and_hides_no_other(order):
    lines = [*runs("none", [None, 0.4]), *runs("fgp", [0.3, 0.5])]
    found = {row["pretext"]: row["τ"] for row in parsed(ranking_table(lines[::order]))}
    assert found == {"none": "nan ± nan", "fgp": "**40.0 ± 14.1**"}


def test_rows_group_over_seeds_and_splits():
    lines = [line(number, seed=seed, split=split) for number, (seed, split) in enumerate(product(range(2), range(3)))]
    lines.append(line("pool", share="pool"))
    assert [len(row.lines) for row in rows(lines)] == [6, 1]
    assert rows(lines)[0].mean("tau") == 50


def signed_rank_p(apart):
    """Wilcoxon's two-sided p by trying every choice of signs; no ties, no zeros."""
    ranks = np.argsort(np.argsort(np.abs(apart))) + 1
    found = min(ranks[apart > 0].sum(), ranks[apart < 0].sum())
    signs = np.array(list(product([0, 1], repeat=len(apart))))
    return min(1, 2 * np.mean(signs @ ranks <= found))


def test_whether_draws_differ():
    rng = np.random.default_rng(0)
    taus = rng.uniform(0.4, 0.8, (3, 9))
    lines = [each for number in range(3) for each in runs(f"fgp-draw-{number}", taus[number])]
    extra = line("lone", pretext="fgp-draw-0", seed=7)  # a run that the others lack
    first, second = draws_table([*lines, extra]).split("\n\n")
    assert first + "\n" == ranking_table([*lines, extra])
    found = parsed(second)
    assert [row["draws"] for row in found] == [
        *("fgp-draw-0, fgp-draw-1", "fgp-draw-0, fgp-draw-2", "fgp-draw-1, fgp-draw-2")
    ]
    for row, (one, other) in zip(found, [(0, 1), (0, 2), (1, 2)], strict=True):
        apart = taus[one] - taus[other]
        assert (row["runs"], row["τ apart, ×100"]) == ("9", f"{100 * apart.mean():.1f}")
        assert float(row["p"]) == pytest.approx(signed_rank_p(apart), abs=6e-4)


def test_draws_without_differences_have_no_p():
    lines = [*runs("fgp-draw-0", [0.5, 0.6]), *runs("fgp-draw-1", [0.5, 0.6]), *runs("fgp-draw-2", [0.5])]
    lines += [line("x", pretext="fgp-draw-3", seed=9)]
    lines += runs("fgp-draw-4", [None, 0.5])
    found = {row["draws"]: (row["runs"], row["p"]) for row in parsed(draws_table(lines).split("\n\n")[1])}
    assert found["fgp-draw-0, fgp-draw-1"] == ("2", "")
    assert found["fgp-draw-0, fgp-draw-2"] == ("1", "")
    assert found["fgp-draw-0, fgp-draw-3"] == ("0", "")
    assert found["fgp-draw-0, fgp-draw-4"] == ("1", "")  # runs with an undefined τ are left out


def test_the_fastest_comes_first():
    lines = [
        {"space": "s", "encoder": name, "architectures": 100, "seconds": seconds}
        for name, seconds in (("slow", 10.0), ("fast", 0.1), ("middle", 1.0))
    ]
    found = parsed(speed_table(lines))
    assert [row["encoder"] for row in found] == ["fast", "middle", "slow"]
    assert [row["architectures/s"] for row in found] == ["1,000", "100", "10"]
    assert {row["× ResGatedGCN’s time"] for row in found} == {""}
    mark = {"space": "s", "encoder": "resgatedgcn", "architectures": 100, "seconds": 0.5}
    away = {"space": "t", "encoder": "flowerformer", "architectures": 100, "seconds": 9.0}
    found = parsed(speed_table([*lines, mark, away]))
    assert [row["× ResGatedGCN’s time"] for row in found] == ["0.2", "1.0", "2.0", "20.0", ""]
    assert [row["published"] for row in found] == ["", "", "", "", "up to 57, on a GPU"]


def test_the_probe_beside_the_more_common_answer():
    lines = [
        {"space": "s", "accuracy": mean, "operations": {"a": mean - 0.1, "b": mean + 0.1}, "more_common": blind}
        for mean, blind in ((0.8, {"a": 0.6, "b": 0.7}), (0.9, {"a": 0.7, "b": 0.8}))
    ]
    a, b, mean = parsed(probe_table(lines))
    assert (a["right, %"], a["more common answer, %"]) == ("75.0 ± 7.1", "65.0")
    assert (b["right, %"], b["more common answer, %"]) == ("95.0 ± 7.1", "75.0")
    assert (mean["right, %"], mean["more common answer, %"]) == ("**85.0 ± 7.1**", "70.0")
    assert "published: over 92" in mean["operation"]
