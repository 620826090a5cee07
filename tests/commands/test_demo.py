import json

import numpy as np
import pytest
from scipy.stats import kendalltau

import archflow.report
from archflow.benchmarks.tables import table
from archflow.commands import demonstration as module
from archflow.commands.demo import text_of
from archflow.commands.demonstration import FGP, FGP_GP, GP, PARAMETERS, PROXY, RANDOM, demonstrate, described, row_of
from archflow.commands.shared import titled
from archflow.ranking.metrics import RankScores
from archflow.studies.protocol import split
from tests.commands import PREVIOUS, SPACE, words
from tests.commands.conftest import quick_ranker
from tests.report import read_data

METHODS = [RANDOM, PARAMETERS, PROXY, GP, "gp, split 0", FGP, FGP_GP]


class Watched:
    """What the demonstration told, showed and wrote, beside its result."""

    def __init__(self, folder, **settings):
        self.told, self.shown, self.reports = [], [], []
        settings = {"pretrain_epochs": 1, "splits": 1, "starts": 1, "device": "cpu", **settings}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "Ranker", quick_ranker)
            patch.setattr(module, "write_report", self.write)
            self.result = demonstrate(folder, **settings, progress=self.tell, show=self.show)
        (self.report,) = self.reports

    def tell(self, phase, done, total):
        self.told.append((phase, done, total))

    def show(self, what, found):
        self.shown.append((what, found))

    def write(self, path, report):
        self.reports.append(report)
        archflow.report.page.write_report(path, report)

    def row(self, method):
        (found,) = [row for row in self.result["rows"] if row["method"] == method]
        return found


@pytest.fixture(scope="module")
def data():
    return table("nasbench201/analog")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The demonstration on all of NAS-Bench-201, with less training, and its folder."""
    folder = tmp_path_factory.mktemp("demo") / "folder"
    return Watched(folder, splits=2), folder


# On all of NAS-Bench-201


def test_all_labels_are_counted(whole):
    counts = {"all": 118, "fit": 78, "validation": 40, "test": 7_772, "cells": 15_625}
    assert whole[0].result["labels"] == whole[0].report.settings["labels"] == counts


def test_a_row_for_each_method(whole):
    watched = whole[0]
    assert [row["method"] for row in watched.result["rows"]] == METHODS
    for row in watched.result["rows"]:
        assert (row["splits"], row["tau_std"] > 0) == ((2, True) if row["method"] in METHODS[:4] else (1, False))
        assert 0 <= row["p_at_1"] <= 1
        assert 0 <= row["p_at_5"] <= 1
        assert row["seconds"] > 0
    assert abs(watched.row(RANDOM)["tau"]) < 0.05
    assert watched.row(GP)["tau"] > watched.row(PROXY)["tau"] > 0.4


def test_the_figures_are_those_of_the_test_cells(whole, data):
    watched, accuracy = whole[0], data["baseline_accuracy"]
    part = split(15_625, 7_813, 0.01, 0)
    assert list(watched.report.scores) == [GP, FGP, FGP_GP, PROXY, PARAMETERS]
    for method, name in (("gp, split 0", GP), (FGP, FGP), (FGP_GP, FGP_GP)):
        score = watched.report.scores[name]
        tau = kendalltau(accuracy[part.test], score[part.test]).statistic
        assert watched.row(method)["tau"] == pytest.approx(tau, abs=1e-9)


def test_the_suggestions_are_new_and_told_with_the_truth(whole, data):
    strings, accuracy = SPACE.format(data.archs), data["baseline_accuracy"]
    part = split(15_625, 7_813, 0.01, 0)
    seen = {*part.labelled.tolist(), *part.validation.tolist()}
    suggestions, second = whole[0].result["suggestions"], whole[0].result["second_round"]
    positions = [strings.index(cell["arch"]) for cell in suggestions]
    assert len({*positions}) == 10
    assert not seen & {*positions}
    for cell in [*suggestions, second["best_of_second"]]:
        assert cell["accuracy"] == accuracy[strings.index(cell["arch"])]
        assert cell["true_rank"] == 1 + (accuracy > cell["accuracy"]).sum()
    assert all(cell["low"] < cell["high"] for cell in suggestions)
    assert second["labels"] == 128
    assert second["best_before"] == accuracy[[*seen]].max()
    assert second["best_of_first"] == max(cell["accuracy"] for cell in suggestions)
    assert strings.index(second["best_of_second"]["arch"]) not in {*seen, *positions}


def test_the_search_begins_alike_and_only_rises(whole, data):
    search = whole[0].result["search"]
    assert search["after"] == [20, 34, 48, 62, 76, 90, 104, 118]
    assert (search["starts"], search["best"]) == (1, data["baseline_accuracy"].max())
    curves = np.array([search["curves"][way] for way in (RANDOM, PARAMETERS, PROXY, GP)])
    assert curves.shape == (4, 118)
    assert (curves[:, :20] == curves[0, :20]).all()
    assert (np.diff(curves) >= 0).all()
    assert curves[3, -1] > curves[0, -1]


def test_results_are_shown_as_they_come(whole):
    watched = whole[0]
    names = [what for what, _ in watched.shown]
    assert names == ["labels", *["row"] * 3, "first", "row", "suggestions", "second_round", "search", *["row"] * 3]
    assert [found.method for what, found in watched.shown if what == "row"] == METHODS
    text = "\n".join(text_of(what, found) for what, found in watched.shown)
    assert max(map(len, text.splitlines())) <= 80
    assert "118 trained ones" in text


def test_the_report_is_written_and_knows_what_it_shows(whole, data):
    watched, folder = whole
    assert watched.result["report"] == str(folder / "report.html")
    assert [entry.name for entry in folder.iterdir()] == ["report.html"]
    page = (folder / "report.html").read_text()
    assert page.lstrip().lower().startswith("<!doctype html>")
    assert page.rstrip().endswith("</html>")
    assert "networks trained" in {plot["over"] for plot in read_data(folder / "report.html")["curves"]}
    report = watched.report
    assert report.archs == data.archs
    assert np.array_equal(report.accuracy, data["baseline_accuracy"])
    assert report.surrogate.shape == (15_625, 7)
    assert report.held_out.sum() == 15_625 - 118
    assert report.curves["Best accuracy found"] == watched.result["search"]["curves"]
    assert all(len(curve) == 1 for curve in report.curves["Pre-training loss"].values())
    for title in ("Fine-tuning loss", "Kendall's τ on the validation cells"):
        assert {name: len(curve) for name, curve in report.curves[title].items()} == {FGP: 3}
    assert [row["method"] for row in report.rows] == METHODS


def test_progress_tells_each_phase_to_its_end(whole):
    told = whole[0].told
    phases = list(dict.fromkeys(phase for phase, _, _ in told))
    assert phases == ["gp (splits)", "search", "pre-training", "fine-tuning"]
    last = {phase: (done, total) for phase, done, total in told}
    assert last == {"gp (splits)": (2, 2), "search": (1, 1), "pre-training": (15_625, 15_625), "fine-tuning": (3, 3)}


# On a small table


def without_seconds(result):
    return {**result, "rows": [{**row, "seconds": None} for row in result["rows"]]}


def test_a_seed_fixes_everything_and_another_changes_it(small_demo, tmp_path):
    first, again, other = (Watched(tmp_path, labels=0.2, seed=seed) for seed in (0, 0, 1))
    assert without_seconds(first.result) == without_seconds(again.result)
    for method, score in first.report.scores.items():
        assert np.array_equal(score, again.report.scores[method])
        assert method in (PARAMETERS, PROXY) or not np.array_equal(score, other.report.scores[method])
    assert not np.array_equal(first.report.held_out, other.report.held_out)


def test_the_labels_of_other_cells_change_no_score(small_demo, tmp_path):
    """Not those of the test cells, nor those of the pool that are not among the few."""
    first = Watched(tmp_path, labels=0.2)
    unseen = np.flatnonzero(first.report.held_out)
    accuracy = small_demo.columns["accuracy"]
    accuracy[unseen] = accuracy[np.random.default_rng(0).permutation(unseen)]
    again = Watched(tmp_path, labels=0.2)
    for method, score in first.report.scores.items():
        assert np.array_equal(score, again.report.scores[method])
    assert first.row(FGP)["tau"] != again.row(FGP)["tau"]
    for before, after in zip(first.result["suggestions"], again.result["suggestions"], strict=True):
        assert [before[name] for name in ("arch", "low", "high")] == [after[name] for name in ("arch", "low", "high")]


def test_too_few_labels(small_demo, tmp_path):
    with pytest.raises(ValueError, match="does not leave two labels or more"):
        demonstrate(tmp_path, labels=0.001)


@pytest.mark.parametrize("setting", ["pretrain_epochs", "splits", "starts"])
@pytest.mark.parametrize("value", [0, -1])
def test_none_of_something(small_demo, tmp_path, setting, value):
    with pytest.raises(ValueError, match=f"{setting} must be 1 or more, not {value}"):
        demonstrate(tmp_path, labels=0.2, **{setting: value})


def test_an_unwritable_folder_is_noticed_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "table", lambda name: pytest.fail("the work has begun"))
    (tmp_path / "file").write_text("text")
    with pytest.raises(OSError, match="file"):
        demonstrate(tmp_path / "file")
    (tmp_path / "folder" / "report.html").mkdir(parents=True)
    with pytest.raises(OSError, match=r"report\.html"):
        demonstrate(tmp_path / "folder")
    assert (tmp_path / "file").read_text() == "text"


def test_it_prints_every_method_and_ten_suggestions(here, call, small_demo):
    outcome = call(*words("demo"))
    assert outcome.code == 0
    for text in (*METHODS, "τ", "P@1%", "P@5%", "80 % interval", "10  ", "below/report.html"):
        assert text in outcome.out
    assert (here / "below" / "report.html").read_bytes() != PREVIOUS
    assert outcome.lines[-1].startswith("fine-tuning: 3/3 ")


def test_json_holds_everything(here, call, small_demo):
    outcome = call(*words("demo", "--json"))
    found = json.loads(outcome.out)
    assert list(found) == ["labels", "rows", "search", "suggestions", "second_round", "report"]
    assert [row["method"] for row in found["rows"]] == METHODS


# Its parts


def test_equal_accuracies_share_a_rank_as_they_do_in_the_report():
    accuracy = np.array([90.0, 80, 95, 70, 80, 60])
    ranks = [described(row, accuracy, list("abcdef"))["true_rank"] for row in range(6)]
    assert ranks == [2, 3, 1, 5, 3, 6]
    assert described(2, accuracy, list("abcdef")) == {"arch": "c", "accuracy": 95, "true_rank": 1}


def test_means_and_deviations_by_hand():
    row = row_of("mine", [RankScores(0.5, 0.1, 0.2), RankScores(0.7, 0.1, 0.4)], [1, 2], "said")
    assert (row.tau, row.p_at_1, row.p_at_5) == pytest.approx((0.6, 0.1, 0.3))
    assert (row.tau_std, row.p_at_1_std, row.p_at_5_std) == pytest.approx((0.02**0.5, 0, 0.02**0.5), abs=1e-12)
    assert (row.splits, row.seconds, row.note) == (2, 1.5, "said")


def test_headings_that_people_read():
    row = {"method": "FGP", "tau": 0.8, "p_at_1": 0.5, "p_at_5": 0.6, "seconds": 3}
    assert titled(row) == {"method": "FGP", "τ": 0.8, "P@1%": 0.5, "P@5%": 0.6, "seconds": 3}
