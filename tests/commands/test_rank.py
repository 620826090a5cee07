"""``archflow spaces``, ``finetune``, ``rank``, ``suggest`` and ``report``: from architectures to a ranking."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

import archflow
from archflow.benchmarks.own_tables import read_table, write_table
from archflow.encoding.files import load_encoder
from archflow.ranking.ranker import Ranker
from tests.commands import CELLS, SPACE, contents, words
from tests.report import read_data


def test_spaces_lists_the_spaces(call):
    outcome = call("spaces")
    assert (outcome.code, outcome.err) == (0, "")
    for text in ("nasbench201", "15,625", "nasbench-graph", "26,206", "nor_conv_3x3"):
        assert text in outcome.out
    assert call("spaces", "nasbench201").out == "nasbench201: 15,625 architectures\n"


@pytest.mark.parametrize("name", ["nasbench201", "nasbench-graph", "nasbench-graph-proteins"])
def test_a_space_is_written_with_or_without_closed_forms(here, call, name):
    for seed in (0, 1):
        assert call("spaces", name, "--sample", 9, "--seed", seed, "--out", "out.csv").code == 0
        assert read_table("out.csv", archflow.space(name)).archs == archflow.space(name).sample(9, seed)


def test_finetune_and_rank_equal_the_ranker(here, call):
    tuned = call(*words("finetune", "--pretrained encoder.archflow --validation others.parquet --seed 2 --json"))
    table, others = read_table("some.jsonl", SPACE), read_table("others.parquet", SPACE)
    model = Ranker(load_encoder("encoder.archflow")[0], "finetune", epochs=2, seed=2, device="cpu")
    model.fit(table.archs, table["accuracy"], (others.archs, others["accuracy"]))
    assert tuned.json == {
        **{"out": "out.archflow", "space": "nasbench201", "head": "finetune", "encoder": "encoder.archflow"},
        **{"labels": 40, "fit": 20, "validation": 20},
        **{"loss": model.losses[-1], "validation_tau": max(model.validation_taus), "cross_validation": None},
    }
    ranked = call("rank", "out.archflow", "--input", "cells.csv", "--out", "out.csv", "--top", 25, "--json")
    cells = read_table("cells.csv", SPACE)
    expected = model.predict(cells.archs)
    order = np.argsort(-expected, kind="stable")[:25]
    ranking = read_table("out.csv", SPACE)
    assert ranking.archs == cells.archs[order]
    assert ranking["rank"].tolist() == list(range(1, 26))
    assert ranking["score"] == pytest.approx(expected[order])
    assert (ranked.json["architectures"], ranked.json["out"]) == (CELLS, "out.csv")
    assert [each["arch"] for each in ranked.json["best"]] == SPACE.format(cells.archs[order[:10]])


def test_a_seed_fixes_the_ranker(here, call):
    found = []
    cells = read_table("cells.csv", SPACE).archs
    for seed in (1, 1, 2):
        torch.manual_seed(77 + len(found))
        assert call(*words("finetune", f"--pretrained encoder.archflow --seed {seed}")).code == 0
        found.append(Ranker.load("out.archflow").predict(cells))
    assert np.array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])


def test_a_ranker_without_pretraining(here, call):
    """Random weights, or no encoder where the head needs none; both are said, and so is the space."""
    random = call(*words("finetune"))
    assert (random.code, random.out.splitlines()) == (
        0,
        [
            "finetune on an encoder with random weights, space nasbench201, which is assumed; --space names another",
            "fitted on 20 labels: out.archflow",
        ],
    )
    assert Ranker.load("out.archflow").provenance == {"space": "nasbench201"}
    default = call(
        *("finetune", "--input", "some.jsonl", "--validation", "others.parquet", "--space", "nasbench201"),
        *("--folds", 2, "--overwrite"),
    )
    assert (default.code, default.out.splitlines()[:-1]) == (
        0,
        ["gp on no encoder, space nasbench201", "fitted on 40 labels (20 + 20): ranker.archflow"],
    )
    assert re.fullmatch(
        r"cross-validated τ -?[01]\.\d{3} ± \d\.\d{3}: over 2 folds, each ranked by a ranker fitted on "
        "the other labels, about 20",
        default.out.splitlines()[-1],
    )
    assert (Ranker.load("ranker.archflow").encoder, Ranker.load("ranker.archflow").head) == (None, "gp")
    few = call("finetune", "--input", "some.jsonl", "--lr", 1, "--overwrite")
    few.assert_mistake("the head 'gp' has no setting for --lr, which is for --head finetune$")
    call("finetune", "--input", "some.jsonl", "--folds", 1, "--overwrite").assert_mistake(
        "--folds must be 0, or 2 or more"
    )
    assert call(*words("finetune", "--input graphs.csv --space nasbench-graph")).code == 0
    assert Ranker.load("out.archflow").provenance == {"space": "nasbench-graph"}


def test_rank_prints_the_best(here, call):
    outcome = call("rank", "ranker.archflow", "--input", "cells.csv", "--top", 3)
    assert (outcome.code, outcome.err) == (0, "")
    cells = read_table("cells.csv", SPACE).archs
    best = np.argsort(-Ranker.load("ranker.archflow").predict(cells), kind="stable")[:3]
    heading, *lines = outcome.out.splitlines()
    assert heading.split() == ["rank", "score", "arch"]
    assert [line.split()[-1] for line in lines[:3]] == SPACE.format(cells[best])
    assert ["*" in line.split() for line in lines[:3]] == (best < 20).tolist()  # the ranker was fitted on the first 20
    assert len(lines) == 3 + any(best < 20)


def test_what_was_trained_is_marked_or_left_out(here, call):
    """The ranker was fitted on the first 20 cells of the file."""
    all_of_them = call("rank", "ranker.archflow", "--input", "cells.csv", "--out", "out.csv", "--json").json
    ranking, cells = read_table("out.csv", SPACE), read_table("cells.csv", SPACE).archs
    known = np.isin(SPACE.keys(ranking.archs), SPACE.keys(cells[:20]))
    assert known.sum() == 20
    assert np.array_equal(ranking["trained"], known)
    assert (all_of_them["trained"], all_of_them["ranked"]) == (20, CELLS)
    others = call(*words("rank", "--exclude-trained --top 12 --json")).json
    assert (others["trained"], others["ranked"]) == (20, 12)
    left = read_table("out.csv", SPACE)
    assert left.archs == ranking.archs[np.flatnonzero(~known)[:12]]
    assert not left["trained"].any()
    none = call("rank", "ranker.archflow", "--input", "some.jsonl", "--exclude-trained")
    none.assert_mistake("ranker.archflow was fitted on all of these architectures, so --exclude-trained leaves none")


def test_the_whole_space_is_ranked_from_forty_known_cells(here, call):
    table = read_table("cells.csv", SPACE)
    write_table("known.csv", {"arch": SPACE.format(table.archs[:40]), "accuracy": table["accuracy"][:40]})
    made = call("finetune", "--input", "known.csv", "--folds", 0, "--out", "known.archflow", "--json").json
    assert (made["labels"], made["cross_validation"]) == (40, None)
    call("rank", "known.archflow", "--out", "out.csv")
    ranking = read_table("out.csv", SPACE)
    assert (len(ranking), int(ranking["trained"].sum())) == (SPACE.size, 40)
    call("rank", "known.archflow", "--exclude-trained", "--out", "out.csv")
    assert len(read_table("out.csv", SPACE)) == SPACE.size - 40


@pytest.mark.parametrize("verb", ["pretrain", "finetune", "proxies"])
def test_a_result_is_not_overwritten_unasked(here, call, verb):
    (here / "out.csv.partial").unlink()
    args = [each for each in words(verb) if each != "--overwrite"]
    before = contents(here)
    call(*args).assert_mistake(r"out\.(archflow|csv) is there already, .*: choose another --out, or .* --overwrite$")
    assert contents(here) == before
    assert call(*args, "--overwrite").code == 0
    assert contents(here) != before


@pytest.mark.parametrize("verb", ["pretrain", "proxies"])
def test_an_unfinished_run_is_not_dropped_unasked(here, call, verb):
    args = [each for each in words(verb) if each != "--overwrite"]
    (here / f"{args[-1]}.partial").write_text("half")
    before = contents(here)
    call(*args).assert_mistake(r"partial is an unfinished run: --resume continues it, --overwrite starts anew$")
    assert contents(here) == before
    assert call(*args, "--overwrite").code == 0


def test_a_sample_of_a_space_that_cannot_be_listed_is_ranked(here, call):
    darts = archflow.space("darts")
    strings = darts.format(darts.sample(30, seed=4))
    write_table("own.csv", {"arch": strings, "accuracy": np.arange(30)})
    assert call(*words("finetune", "--input own.csv --space darts --out ranker.archflow")).code == 0
    ranked = call("rank", "ranker.archflow", "--sample", 30, "--seed", 4, "--out", "out.csv", "--json").json
    assert ranked["architectures"] == 30
    ranking = read_table("out.csv", darts)
    assert sorted(darts.format(ranking.archs)) == sorted(strings)
    assert (np.diff(ranking["score"]) <= 0).all()
    call("rank", "ranker.archflow").assert_mistake("darts is too large to be listed")


def test_suggestions_are_the_best_that_were_not_trained(here, call):
    outcome = call(*words("suggest", "--top 5 --json"))
    assert outcome.code == 0, outcome.err
    model, cells = Ranker.load("ranker.archflow"), read_table("cells.csv", SPACE).archs
    scores = model.predict(cells)
    scores[:20] = -np.inf  # it was fitted on these
    expected = SPACE.format(cells[np.argsort(-scores, kind="stable")[:5]])
    assert [each["arch"] for each in outcome.json["suggestions"]] == expected
    assert SPACE.format(read_table("out.csv", SPACE).archs) == expected
    assert call("suggest", "ranker.archflow", "--top", 1).out.split()[1] in SPACE.format(SPACE.enumerate())


def test_report_shows_architectures_and_curves(here, call):
    outcome = call(*words("report", "--input unknown.csv"))
    assert (outcome.code, outcome.out, outcome.err) == (0, "report: out.html\n", "")
    page = str(read_data(Path("out.html")))
    assert SPACE.format(SPACE.sample(CELLS, seed=0))[0] in page
    assert "Fine-tuning loss" in page
    assert "Pre-training loss" in page


def test_report_scores_what_was_trained_apart(here, call):
    assert call("finetune", "--input", "some.jsonl", "--out", "gp.archflow").code == 0
    outcome = call(
        "report", "gp.archflow", "--input", "cells.csv", "--label-column", "accuracy", "--out", "o.html", "--json"
    )
    assert outcome.code == 0, outcome.err
    own, table = read_table("some.jsonl", SPACE), read_table("cells.csv", SPACE)
    trained = np.isin(SPACE.keys(table.archs), SPACE.keys(own.archs))
    assert outcome.json["trained"] == trained.sum() >= len(own)
    rows = outcome.json["rows"]
    assert [row["method"] for row in rows] == ["gp.archflow", "gp.archflow, training scores"]
    score = Ranker.load("gp.archflow").predict(table.archs)
    for row, of in zip(rows, (~trained, trained), strict=True):
        assert row["architectures"] == of.sum()
        assert row["tau"] == archflow.metrics.kendall_tau(table["accuracy"][of], score[of])
        assert row["spread"]["tau"] > 0
    data = read_data(Path("o.html"))
    assert len(data["usedInTraining"]) == trained.sum()
    assert data["bestTrained"]["accuracy"] == pytest.approx(table["accuracy"][trained].max(), rel=1e-5)
    assert len(data["methods"][0]["intervals"]["low"]) == len(table)
    assert data["settings"]["ranker seed"] == 0
    assert {"archflow", "torch"} <= data["settings"]["versions"].keys()


@pytest.mark.parametrize("column", ["same", "''"])
def test_report_without_usable_accuracies(here, call, column):
    outcome = call(*words("report", f"--label-column {column} --json"))
    assert outcome.code == 0, outcome.err
    assert outcome.json["architectures"] == CELLS
