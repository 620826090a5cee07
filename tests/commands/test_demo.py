import functools

import numpy as np
import pytest
from scipy.stats import kendalltau

import archflow.report
from archflow.benchmarks.tables import table
from archflow.commands import demonstration as module
from archflow.commands.demonstration import best_found, demonstrate
from archflow.commands.shared import titled
from archflow.ranking.ranker import Ranker
from archflow.studies.protocol import split
from tests.commands import PREVIOUS, SPACE, words


@pytest.fixture(scope="module")
def data():
    return table("nasbench201/analog")


class Watched:
    """What the demonstration told and wrote, beside its result."""

    def __init__(self, folder, **settings):
        self.told, self.reports = [], []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "Ranker", functools.partial(Ranker, epochs=3))
            patch.setattr(module, "write_report", self.write)
            self.result = demonstrate(folder, pretrain_epochs=1, device="cpu", progress=self.tell, **settings)
        (self.report,) = self.reports

    def tell(self, phase, done, total):
        self.told.append((phase, done, total))

    def write(self, path, report):
        self.reports.append(report)
        archflow.report.page.write_report(path, report)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The demonstration on all of NAS-Bench-201, with fewer epochs, and its folder."""
    folder = tmp_path_factory.mktemp("demo") / "folder"
    return Watched(folder), folder


# On all of NAS-Bench-201


def test_a_row_for_each_method(whole):
    rows = whole[0].result["rows"]
    assert [row["method"] for row in rows] == ["FGP", "no pre-training"]
    for row in rows:
        assert list(row) == ["method", "tau", "p_at_1", "p_at_5", "seconds"]
        assert -1 <= row["tau"] <= 1
        assert 0 <= row["p_at_1"] <= 1
        assert 0 <= row["p_at_5"] <= 1
        assert row["seconds"] > 0
    assert rows[0]["seconds"] > rows[1]["seconds"]  # it was pre-trained as well


def test_the_figures_are_those_of_the_test_cells(whole, data):
    watched = whole[0]
    part, accuracy = split(15_625, 7_813, 0.01, 0), data["baseline_accuracy"]
    assert (len(part.labelled), len(part.validation), len(part.test)) == (78, 40, 7_772)
    for row in watched.result["rows"]:
        score = watched.report.scores[row["method"]]
        assert row["tau"] == pytest.approx(kendalltau(accuracy[part.test], score[part.test]).statistic, abs=1e-9)
        assert row["tau"] > 0.2  # even so little training ranks better than chance


def test_the_ten_best_are_the_highest_scores_among_cells_without_a_label(whole, data):
    watched = whole[0]
    strings, score = SPACE.format(data.archs), watched.report.scores["FGP"]
    part = split(15_625, 7_813, 0.01, 0)
    seen = {*part.labelled.tolist(), *part.validation.tolist()}
    positions = [strings.index(cell["arch"]) for cell in watched.result["best"]]
    assert len(set(positions)) == 10
    assert not seen & set(positions)
    found = score[positions]
    assert (np.diff(found) <= 0).all()
    assert (np.delete(score, [*seen, *positions]) <= found[-1]).all()


def test_their_accuracies_and_true_ranks_are_those_of_the_table(whole, data):
    strings, accuracy = SPACE.format(data.archs), data["baseline_accuracy"]
    for cell in whole[0].result["best"]:
        assert cell["accuracy"] == accuracy[strings.index(cell["arch"])]
        assert cell["true_rank"] == 1 + (accuracy > cell["accuracy"]).sum()


def test_the_report_is_written_and_knows_what_it_shows(whole, data):
    watched, folder = whole
    assert watched.result["report"] == str(folder / "report.html")
    assert [entry.name for entry in folder.iterdir()] == ["report.html"]
    page = (folder / "report.html").read_text()
    assert page.lstrip().lower().startswith("<!doctype html>")
    assert page.rstrip().endswith("</html>")
    assert watched.result["best"][0]["arch"] in page
    report = watched.report
    assert report.archs == data.archs
    assert np.array_equal(report.accuracy, data["baseline_accuracy"])
    assert report.surrogate.shape == (15_625, 7)
    assert report.held_out.sum() == 15_625 - 78 - 40
    assert list(report.curves) == ["Pre-training loss", "Fine-tuning loss", "Kendall's τ on the validation cells"]
    assert all(len(curve) == 1 for curve in report.curves["Pre-training loss"].values())
    for title in list(report.curves)[1:]:
        assert {name: len(curve) for name, curve in report.curves[title].items()} == {"FGP": 3, "no pre-training": 3}
    assert [row["method"] for row in report.rows] == ["FGP", "no pre-training"]
    assert (report.settings["labelled"], report.settings["validation"]) == (78, 40)
    assert report.settings["test"] == 15_625 - 7_813 - 40


def test_progress_tells_each_phase_to_its_end(whole):
    told = whole[0].told
    phases = list(dict.fromkeys(phase for phase, _, _ in told))
    assert phases == ["pre-training", "fine-tuning (FGP)", "fine-tuning (no pre-training)"]
    last = {phase: (done, total) for phase, done, total in told}
    assert last["pre-training"] == (15_625, 15_625)
    assert last["fine-tuning (FGP)"] == last["fine-tuning (no pre-training)"] == (3, 3)


# On a small table


def without_seconds(result):
    return {**result, "rows": [{**row, "seconds": None} for row in result["rows"]]}


def test_a_seed_fixes_everything_and_another_changes_it(small_demo, tmp_path):
    first, again, other = (Watched(tmp_path, labels=0.2, seed=seed) for seed in (0, 0, 1))
    assert without_seconds(first.result) == without_seconds(again.result)
    for method, score in first.report.scores.items():
        assert np.array_equal(score, again.report.scores[method])
        assert not np.array_equal(score, other.report.scores[method])
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
    assert first.result["rows"][0]["tau"] != again.result["rows"][0]["tau"]


def test_too_few_labels(small_demo, tmp_path):
    with pytest.raises(ValueError, match="does not leave two labels or more"):
        demonstrate(tmp_path, labels=0.001)


@pytest.mark.parametrize("epochs", [0, -1])
def test_no_epochs(small_demo, tmp_path, epochs):
    with pytest.raises(ValueError, match="epochs"):
        demonstrate(tmp_path, pretrain_epochs=epochs, labels=0.2)


def test_an_unwritable_folder_is_noticed_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "table", lambda name: pytest.fail("the work has begun"))
    (tmp_path / "file").write_text("text")
    with pytest.raises(OSError, match="file"):
        demonstrate(tmp_path / "file")
    (tmp_path / "folder" / "report.html").mkdir(parents=True)
    with pytest.raises(OSError, match=r"report\.html"):
        demonstrate(tmp_path / "folder")
    assert (tmp_path / "file").read_text() == "text"


def test_it_prints_two_rows_and_the_ten_best(here, call, small_demo):
    outcome = call(*words("demo"))
    assert outcome.code == 0
    for text in ("FGP", "no pre-training", "τ ×100", "P@1% ×100", "P@5% ×100", "true rank", "below/report.html"):
        assert text in outcome.out
    assert (here / "below" / "report.html").read_bytes() != PREVIOUS
    assert outcome.lines[-1].startswith("fine-tuning (no pre-training): 3/3 ")


# Its parts


def test_best_found_by_hand():
    archs = SPACE.enumerate()[:6]
    strings, nothing = SPACE.format(archs), np.zeros(6)
    accuracy = np.array([90.0, 80, 95, 70, 80, 60])
    score = np.array([5.0, 6, 1, 9, 2, 2])
    eligible = np.array([True, True, True, False, True, True])
    found = best_found(accuracy, score, eligible, strings, count=4)
    assert [strings.index(cell["arch"]) for cell in found] == [1, 0, 4, 5]
    assert [cell["accuracy"] for cell in found] == [80, 90, 80, 60]
    # Equal accuracies share a rank, as they do in the report.
    assert [cell["true_rank"] for cell in found] == [3, 2, 3, 6]
    assert len(best_found(accuracy, nothing, eligible, strings)) == 5


def test_headings_that_people_read():
    row = {"method": "FGP", "tau": 0.8, "p_at_1": 0.5, "p_at_5": 0.6, "seconds": 3}
    assert titled(row) == {"method": "FGP", "τ": 0.8, "P@1%": 0.5, "P@5%": 0.6, "seconds": 3}
