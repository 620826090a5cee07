import os
import re
import signal
import threading
from collections import Counter

import numpy as np
import pytest
from filelock import FileLock

from archflow.benchmarks.table import Table
from archflow.benchmarks.tables import keep
from archflow.encoding.mlp import MLP
from archflow.encoding.registry import encoders
from archflow.pretraining.loop import PretrainSettings
from archflow.pretraining.registry import make_task
from archflow.pretraining.task import Task
from archflow.ranking.finetune import FinetuneSettings
from archflow.studies import runner
from archflow.studies.cost import cost
from archflow.studies.evaluate import evaluate
from archflow.studies.grids import STUDIES
from archflow.studies.lines import FILE, read
from archflow.studies.methods import PRETEXTS
from archflow.studies.protocol import AXES, LabelledTable
from archflow.studies.reproduce import MEASUREMENTS, Choice, plan, reproduce, studies
from archflow.studies.runner import Failure
from archflow.support.plugins import plug_in
from archflow.support.registry import register
from tests.forgetting import forgetting
from tests.studies import PLUGIN, SPACE, TABLE, without_seconds

pytestmark = pytest.mark.usefixtures("home")

SMALL = {"budget": "tiny", "seeds": 1, "splits": 2, "source": [("nasbench201", "tiny")], "device": "cpu"}


def of(name):
    return {**SMALL, "source": []} if name in MEASUREMENTS else SMALL


def redo(name, out, only=(), **changes):
    return reproduce(name, only=[("space", "nasbench201"), *only], out=out, **{**of(name), **changes})


def planned(name, only=(("space", "nasbench201"),), **changes):
    """The jobs of a study, their runs, and the failures."""
    found = plan(name, Choice(only=only, **{**of(name), **changes}))
    return found.jobs, [run for job in found.jobs for run in job.runs], found.failures


@pytest.fixture(autouse=True)
def without_plots(monkeypatch):
    """Plots take longer than everything else here; test_plots.py covers them."""

    def save(name, lines, stem):
        files = [stem.with_name(f"{stem.name}.{ending}") for ending in ("png", "svg")]
        for file in files:
            file.write_text("<svg></svg>")
        return files

    monkeypatch.setattr("archflow.studies.plots.save", save)


class Spy:
    """Records each pre-training: the task, the seed, the task's settings, the architectures, and the proxies."""

    def __init__(self, patch):
        self.calls = []
        patch.setattr(runner, "make_task", self)

    def __call__(self, name, space, archs, proxies, seed, settings):
        self.calls.append((name, seed, settings, archs, proxies))
        return make_task(name, space, archs, proxies, seed, settings)


@pytest.fixture
def spy(monkeypatch):
    return Spy(monkeypatch)


@pytest.fixture(scope="module")
def label_ratio(home, tmp_path_factory):
    """The study label-ratio, its folder, its pre-trainings, and its progress calls."""
    folder = tmp_path_factory.mktemp("label-ratio")
    with pytest.MonkeyPatch.context() as patch:
        spy = Spy(patch)
        told = []
        outcome = redo("label-ratio", folder, progress=lambda *args: told.append(args))
    return outcome, folder, spy.calls, told


# Contents of the folder


def test_one_line_per_run_in_grid_order(label_ratio):
    outcome, folder, _, told = label_ratio
    assert (len(read(folder)), outcome.runs, outcome.failures) == (18, 18, [])
    assert without_seconds(read(folder)) == without_seconds(outcome.lines)
    assert [tuple(each[axis] for axis in AXES) for each in outcome.lines] == [
        ("nasbench201", "resgatedgcn", pretext, "finetune", labels, 1.0, 0, number)
        for pretext in ("none", "zero-cost", "fgp")
        for labels in (0.01, 0.05, 0.1)
        for number in (0, 1)
    ]
    for each in outcome.lines:
        assert (each["labelled"], each["test"]) == ({0.01: 3, 0.05: 16, 0.1: 32}[each["labels"]], 640 - 321 - 40)
    counts = [(done, total) for phase, done, total in told if phase == "runs"]
    assert (counts[0], counts[-1], {total for _, total in counts}) == ((0, 18), (18, 18), {18})


def test_evaluate_finds_the_same_runs_finished(label_ratio, tmp_path, spy):
    outcome = label_ratio[0]
    copied(label_ratio[1], tmp_path)
    result = evaluate(
        TABLE,
        labels=(0.01, 0.05, 0.1),
        methods=("none", "zero-cost", "fgp"),
        seeds=1,
        splits=2,
        encoder_settings={"hidden": 8, "layers": 2},
        pretraining=PretrainSettings(epochs=2),
        finetuning=FinetuneSettings(epochs=2),
        device="cpu",
        out=tmp_path,
    )
    assert result.lines == outcome.lines
    assert len({each["tau"] for each in result.lines}) > 9
    assert spy.calls == []


def test_files_beside_the_lines(label_ratio):
    outcome, folder, _, _ = label_ratio
    assert [file.name for file in outcome.files] == [f"label-ratio.{e}" for e in ("md", "png", "svg", "html")]
    assert (folder / "label-ratio.md").read_text() == outcome.table
    assert outcome.table.count("\n") == 2 + 9
    assert (
        sorted(file.suffix for file in (folder / "encoders").iterdir() if file.suffix != ".lock") == [".archflow"] * 2
    )


def copied(folder, out, lines=True, cut=0):
    """A copy of a folder's encoders and lines; the last ``cut`` bytes of the lines are left out."""
    (out / "encoders").mkdir()
    for file in (folder / "encoders").glob("*.archflow"):
        (out / "encoders" / file.name).write_bytes(file.read_bytes())
    if lines:
        whole = (folder / FILE).read_bytes()
        (out / FILE).write_bytes(whole[: len(whole) - cut])
    return out


def test_the_table_shows_all_finished_runs_whichever_were_requested(label_ratio, tmp_path):
    whole, folder, _, _ = label_ratio
    copied(folder, tmp_path)
    outcome = redo("label-ratio", tmp_path, [("pretext", "none"), ("labels", "0.05")])
    assert [(each["pretext"], each["labels"]) for each in outcome.lines] == [("none", 0.05)] * 2
    assert (outcome.runs, outcome.failures) == (2, [])
    assert outcome.table == whole.table == (tmp_path / "label-ratio.md").read_text()
    assert redo("label-ratio", tmp_path, [("pretext", "none")], splits=1).table == whole.table
    # Finished runs are shown even if their table is no longer available.
    other = reproduce("label-ratio", only=[("space", "darts")], out=tmp_path, **{**SMALL, "source": []})
    assert (other.lines, len(other.failures), other.table) == ([], 1, whole.table)


def test_the_table_leaves_out_runs_with_other_settings(label_ratio, tmp_path):
    copied(label_ratio[1], tmp_path)
    only, plain = [("pretext", "none"), ("labels", "0.1")], {"splits": 1}
    for changes in ({"finetune_epochs": 1}, {"source": [("nasbench201", "less")]}):
        outcome = redo("label-ratio", tmp_path, only, **plain, **changes)
        assert outcome.table.count("\n") == 2 + 1
        assert "| nasbench201 | resgatedgcn | none | 1 |" in outcome.table
    # Runs without pre-training do not depend on its epochs.
    longer = redo("label-ratio", tmp_path, only, **plain, pretrain_epochs=9)
    assert longer.table.count("\n") == 2 + 3


# Nothing is done twice


def test_an_encoder_is_pre_trained_once_for_all_label_ratios_and_studies(label_ratio, tmp_path, spy):
    _, folder, calls, _ = label_ratio
    assert Counter(name for name, *_ in calls) == {"zero-cost": 1, "fgp": 1}
    before = (copied(folder, tmp_path) / FILE).read_bytes()

    assert len(redo("table1", tmp_path, [("encoder", "resgatedgcn"), ("pretext", "fgp")]).lines) == 2
    redo("pool-only", tmp_path, [("pretext", "none")])
    redo("ablation", tmp_path, [("pretext", "fgp")])
    redo("pretrain-ratio", tmp_path, [("share", "1")])
    assert spy.calls == []
    assert (tmp_path / FILE).read_bytes() == before

    (more,) = redo("label-ratio", tmp_path, [("pretext", "fgp"), ("labels", "0.01"), ("split", "2")], splits=3).lines
    assert more["split"] == 2
    assert spy.calls == []  # the kept encoder serves another split

    outcome = redo("ablation", tmp_path, [("pretext", "fgp"), ("pretext", "fgp-without-proxy")])
    assert [(name, settings) for name, _, settings, *_ in spy.calls] == [("fgp", {"lambda2": 0.0})]
    assert len(outcome.lines) == 4


def test_repeating_the_call_changes_nothing(label_ratio, spy):
    first, folder, _, _ = label_ratio
    files = [*folder.glob("*.jsonl"), *folder.glob("*.md"), *(folder / "encoders").iterdir()]
    before = {file: file.read_bytes() for file in files}
    assert redo("label-ratio", folder) == first
    assert spy.calls == []
    assert {file: file.read_bytes() for file in files} == before


@pytest.mark.parametrize("cut", [1, 2000, None], ids=["mid-line", "some lines", "all lines"])
def test_lost_lines_are_recomputed_from_the_kept_encoders(label_ratio, tmp_path, spy, cut):
    first, folder, _, _ = label_ratio
    copied(folder, tmp_path, lines=cut is not None, cut=1 + (cut or 0))
    kept = read(tmp_path)
    assert kept == read(folder)[: len(kept)]
    assert without_seconds(redo("label-ratio", tmp_path).lines) == without_seconds(first.lines)
    assert spy.calls == []


@pytest.mark.parametrize("name", ["label-ratio", "operation-probe"])
def test_jobs_of_another_command_come_last(tmp_path, monkeypatch, name):
    """The other command holds its job until all others are done."""
    monkeypatch.setattr("archflow.studies.probe.STEPS", 1)
    jobs, runs, _ = planned(name, seeds=2, splits=1)
    its = jobs[0].runs
    (tmp_path / "encoders").mkdir()
    other = FileLock(tmp_path / f"{jobs[0].lock}.lock", thread_local=False)
    too_late = threading.Timer(300, other.release)

    def progress(phase, done, _):
        if phase == "runs" and done == len(runs) - len(its):
            other.release()

    other.acquire()
    too_late.start()
    outcome = redo(name, tmp_path, seeds=2, splits=1, progress=progress)
    too_late.cancel()
    assert (len(outcome.lines), outcome.failures) == (len(runs), [])
    assert [each["key"] for each in read(tmp_path)][-len(its) :] == [run.key for run in its]


def test_an_interrupted_pre_training_resumes_at_its_last_step(label_ratio, tmp_path):
    told = []

    def interrupt(*args):
        if args[:2] == ("pre-training", 896):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        redo("label-ratio", tmp_path, progress=interrupt)
    before = len(read(tmp_path))
    assert 0 < before < 18
    assert len(list((tmp_path / "encoders").glob("*.partial"))) == 1
    outcome = redo("label-ratio", tmp_path, progress=lambda *args: told.append(args))
    assert next(args for args in told if args[0] == "pre-training")[1] > 896
    assert ("runs", before, 18) in told
    assert without_seconds(outcome.lines) == without_seconds(label_ratio[0].lines)
    assert not list((tmp_path / "encoders").glob("*.partial"))


# Data for pre-training and for testing


def test_pre_training_on_the_pool_alone(tmp_path, spy):
    outcome = redo("pool-only", tmp_path)
    assert [(each["pretext"], each["share"], each["split"]) for each in outcome.lines] == [
        (pretext, share, number)
        for pretext in ("none", "zero-cost", "fgp")
        for share in (("pool", 1.0) if pretext != "none" else (1.0,))
        for number in (0, 1)
    ]
    data = LabelledTable(TABLE)
    pools = [data.pretraining_rows("pool", 0, number) for number in (0, 1)]
    expected = [(name, pool) for name in ("zero-cost", "fgp") for pool in (*pools, np.arange(640))]
    for (name, _, _, archs, proxies), (its_name, pool) in zip(spy.calls, expected, strict=True):
        assert (name, archs) == (its_name, TABLE.archs[pool])
        assert np.array_equal(proxies, data.proxies("closed-form")[pool])
    for number, pool in enumerate(pools):
        part = data.split(0.01, number)
        assert set(part.labelled) < set(pool)
        assert not set(pool) & {*part.validation, *part.test}


def test_rivals_are_added_to_a_study_and_an_unknown_proxy_is_reported(tmp_path):
    only, add = [("encoder", "none")], [("head", "random"), ("head", "proxy:flops"), ("head", "proxy:nope")]
    outcome = redo("label-ratio", tmp_path, only, add=add, splits=1)
    assert [(each["head"], each["labels"]) for each in outcome.lines] == [
        (head, labels) for head in ("random", "proxy:flops") for labels in (0.01, 0.05, 0.1)
    ]
    assert {"unknown proxy 'nope'" in failure.why for failure in outcome.failures} == {True}
    assert "| nasbench201 | none | none | proxy:flops | 1% | 1 |" in outcome.table


def test_every_pretext_of_every_study_runs(tmp_path):
    """The tests of the command run those of table1."""
    for pretext in ("fgp-without-reconstruction", "fgp-without-forward", "fgp-2-rounds", "fgp-5-draws"):
        outcome = redo("ablation", tmp_path, [("pretext", pretext)], splits=1)
        assert (len(outcome.lines), outcome.failures) == (1, []), pretext
        (found,) = outcome.lines
        assert found["settings"]["task_settings"] == PRETEXTS[pretext].settings
    assert len({each["tau"] for each in read(tmp_path)}) > 1


def test_a_changed_plug_in_file_gives_new_runs(tmp_path, monkeypatch, forgetful):
    def run():
        with forgetting():
            plug_in([tmp_path / "its_bag.py"])
            return redo("label-ratio", tmp_path, [("encoder", "bag"), ("labels", "0.1")], add=[("encoder", "bag")])

    (tmp_path / "its_bag.py").write_text(PLUGIN)
    first = run()
    assert run().lines == first.lines
    (tmp_path / "its_bag.py").write_text(PLUGIN.replace("self.width)", "self.width, scale_grad_by_freq=True)"))
    second = run()
    assert not {each["key"] for each in first.lines} & {each["key"] for each in second.lines}
    assert second.table.count("\n") == first.table.count("\n") == 2 + 3
    assert all(f"| {pretext} | 2 |" in second.table for pretext in ("none", "zero-cost", "fgp"))


# Failures are reported, and the other runs continue


def test_a_table_that_is_replaced_during_the_work(tmp_path):
    keep(Table("moving", SPACE, TABLE.archs, {"a": TABLE["accuracy"]}, "a"))

    def progress(phase, done, _):
        if (phase, done) == ("runs", 0):
            keep(Table("moving", SPACE, TABLE.archs, {"a": -TABLE["accuracy"]}, "a"))
            runner.labelled_table.cache_clear()

    source = [("nasbench201", "moving")]
    outcome = redo("label-ratio", tmp_path, [("pretext", "none")], source=source, progress=progress)
    assert outcome.lines == []
    assert [each.why for each in outcome.failures] == [
        "the table moving has changed since the runs were planned; start again"
    ]


def test_a_failing_run_stops_no_other(tmp_path):
    """One percent of the 51 cells in the pool is less than one cell."""
    outcome = redo("label-ratio", tmp_path, [("pretext", "fgp"), ("pretext", "none")], source=[("nasbench201", "less")])
    assert [each["labels"] for each in outcome.lines] == [0.05, 0.05, 0.1, 0.1] * 2
    assert outcome.runs == 12
    assert {failure.what for failure in outcome.failures} == {
        f"space=nasbench201,encoder=resgatedgcn,pretext={pretext},head=finetune,labels=0.01,share=1.0,seed=0,"
        f"split={number}"
        for pretext in ("none", "fgp")
        for number in (0, 1)
    }
    assert all("does not leave two labels or more" in failure.why for failure in outcome.failures)


class Failing(Task):
    """A task that cannot be learned."""

    name = "failing"

    def build(self, encoder, archs):
        raise ValueError


def test_a_failing_pre_training_stops_no_other(tmp_path, forgetful):
    register("task", "failing", Failing)
    outcome = redo("label-ratio", tmp_path, [("pretext", "failing"), ("pretext", "none")], add=[("pretext", "failing")])
    assert [each["pretext"] for each in outcome.lines] == ["none"] * 6
    what = "space=nasbench201,encoder=resgatedgcn,pretext=failing,share=1.0,seed=0"
    assert outcome.failures == [Failure(what, "ValueError")]


def test_a_damaged_encoder_file_is_named(label_ratio, tmp_path):
    for file in (copied(label_ratio[1], tmp_path, lines=False) / "encoders").iterdir():
        file.write_bytes(file.read_bytes()[:1000])
    outcome = redo("label-ratio", tmp_path)
    assert {each["pretext"] for each in outcome.lines} == {"none"}
    assert [failure.why.split(" is ")[1][:9] for failure in outcome.failures] == ["truncated"] * 2
    assert outcome.failures[0].why.startswith(str(tmp_path))


def test_a_full_disk_is_reported_once_not_for_every_run(label_ratio, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(runner, "append", fail)
    outcome = redo("label-ratio", tmp_path, [("pretext", "none")])
    assert [failure.why for failure in outcome.failures] == ["[Errno 28] No space left on device"]
    assert (outcome.lines, outcome.table, outcome.files) == ([], "", [])


def test_a_space_without_a_table_stops_no_other():
    jobs, runs, failures = planned("table1", only=())
    assert {run.space for run in runs} == {"nasbench201"}
    assert len(runs) == 3 * 6 * 2
    assert len(jobs) == 3 * 6
    assert [failure.what for failure in failures] == ["space=nasbench101", "space=darts"]
    assert all("archflow tables add" in failure.why for failure in failures)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("nope", "unknown table 'nope'; known tables: nasbench201/analog.*tiny"),
        ("nasbench-graph/proteins", "belongs to the space nasbench-graph-proteins, not to nasbench201"),
        ("bare", "the table bare does not say which of its columns is the accuracy"),
    ],
)
def test_an_unsuitable_table(source, reason):
    keep(Table("bare", SPACE, TABLE.archs, {"accuracy": TABLE["accuracy"]}))
    jobs, runs, (failure,) = planned("table1", source=[("nasbench201", source)])
    assert (jobs, runs, failure.what) == ([], [], "space=nasbench201")
    assert re.search(reason, failure.why)


def test_a_replaced_table_is_read_again(home):
    def key():
        return planned("table1", source=[("nasbench201", "mine")])[1][0].key

    keep(Table("mine", SPACE, TABLE.archs, {"a": TABLE["accuracy"]}, "a"))
    first = key()
    assert key() == first
    keep(Table("mine", SPACE, TABLE.archs, {"a": -TABLE["accuracy"]}, "a"))
    assert key() != first


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        ("nope", {}, "unknown study 'nope'; known studies: table1, label-ratio, .*operation-probe, speed$"),
        ("table1", {"budget": "nope"}, "unknown budget 'nope'; known budgets: published, paper, two-cores"),
        ("table1", {"only": [("colour", "red")]}, "unknown axis 'colour'; known: space, encoder, pretext, head, lab"),
        ("table1", {"only": [("encoder", "nope")]}, "the study has no encoder 'nope'; it has: flowerformer, gin, res"),
        ("speed", {"only": [("pretext", "fgp")]}, "unknown axis 'pretext'; known: space, encoder, seed, device"),
        ("speed", {"only": [("encoder", "nope")]}, "the study has no encoder 'nope'; it has: digcn, .*transformer"),
        ("pool-only", {"only": [("pretext", "none"), ("share", "pool")]}, "no run with .*pretext=none, share=pool$"),
        ("table1", {"add": [("labels", "0.5")]}, "cannot add to the axis 'labels', only to space or enc"),
        ("table1", {"add": [("space", "nope")]}, "unknown space 'nope'; known spaces: "),
        ("speed", {"add": [("space", "nope")]}, "unknown space 'nope'; known spaces: "),
        ("speed", {"add": [("encoder", "gin")]}, "cannot add to the axis 'encoder', only to space$"),
        ("table1", {"add": [("encoder", "nope")]}, "unknown encoder 'nope'; known: digcn"),
        ("table1", {"add": [("pretext", "nope")]}, "unknown pretext 'nope'; known: none, graphcl"),
        ("table1", {"add": [("head", "nope")]}, "unknown head 'nope'; known: finetune, gp, "),
        ("speed", {"source": [("nasbench201", "tiny")]}, "the study speed uses no table, so none can be given$"),
        ("table1", {"source": [("nope", "tiny")]}, "a table is given for the space 'nope', but .*: nasbench201$"),
        ("table1", {"source": [("darts", "tiny")]}, "a table is given for the space 'darts', but .*: nasbench201$"),
        *(("table1", {n: 0}, "at least 1") for n in ("seeds", "splits", "pretrain_epochs", "finetune_epochs")),
        *((name, {"processes": 0}, "at least 1") for name in ("table1", "speed")),
        ("table1", {"device": "abacus"}, "there is no device 'abacus' here"),
    ],
    ids=str,
)
def test_wrong_use(tmp_path, name, changes, reason):
    with pytest.raises(ValueError, match=reason):
        redo(name, tmp_path / "out", **changes)
    assert not (tmp_path / "out").exists()


# Cost estimates


def test_remaining_work_and_its_cost(label_ratio, tmp_path):
    def left(folder=tmp_path, **changes):
        return {row["pretext"]: row for row in cost(planned("label-ratio", **changes)[0], folder)}

    def hours(rows):
        return np.array([row["hours"] for row in rows.values()])

    fresh = left()
    assert [(row["runs"], row["done"], row["pretrainings"]) for row in fresh.values()] == [
        *((6, 0, 0), (6, 0, 1), (6, 0, 1))
    ]
    assert 0 < fresh["none"]["hours"] < fresh["zero-cost"]["hours"] == fresh["fgp"]["hours"]
    wide = left(budget="published", pretrain_epochs=2, finetune_epochs=2)
    assert hours(wide) == pytest.approx(24 * hours(fresh))  # 128 × 3 in place of 8 × 2
    assert hours(left(pretrain_epochs=200, finetune_epochs=200)) == pytest.approx(100 * hours(fresh))
    assert not list(tmp_path.iterdir())
    done = left(label_ratio[1])
    assert [(row["done"], row["pretrainings"], row["hours"]) for row in done.values()] == [(6, 0, 0)] * 3
    more = left(label_ratio[1], splits=3)
    assert (more["fgp"]["runs"], more["fgp"]["done"], more["fgp"]["pretrainings"]) == (9, 6, 0)
    assert more["fgp"]["hours"] == pytest.approx(more["none"]["hours"]) == pytest.approx(fresh["none"]["hours"] / 2)


def test_work_of_unknown_cost_is_listed_too(tmp_path, forgetful):
    class Mine(MLP):
        name = "mine"

    register("encoder", "mine", Mine)
    jobs, _, _ = planned("label-ratio", source=[("nasbench201", "less")], add=[("encoder", "mine")])
    rows = cost(jobs, tmp_path)
    assert [row["hours"] is None for row in rows] == [row["encoder"] == "mine" for row in rows]
    assert len(rows) == 6
    assert [row["hours"] for row in cost(planned("operation-probe")[0], tmp_path)] == [None]


# The studies that do not rank


def test_the_probe_beats_the_more_common_answer_on_nasbench201(tmp_path, monkeypatch):
    monkeypatch.setattr("archflow.studies.probe.STEPS", 400)
    outcome = redo("operation-probe", tmp_path)
    (found,) = outcome.lines
    assert (found["architectures"], found["space"], found["seed"], len(outcome.files)) == (15_625, "nasbench201", 0, 4)
    assert found["operations"].keys() == set(SPACE.vocabulary) - {"input", "output"}
    for name, right in found["operations"].items():
        common = found["more_common"][name]
        assert common == pytest.approx(1 - 0.8**6, abs=0.02)  # at least one of the six edges has it
        assert right > common + 0.1
    assert found["accuracy"] == pytest.approx(np.mean(list(found["operations"].values())))
    assert outcome.table.count("\n") == 2 + 5 + 1
    again = redo("operation-probe", tmp_path)
    assert again.lines == outcome.lines
    assert len((tmp_path / FILE).read_text().splitlines()) == 1


def test_speed_has_one_line_per_encoder(tmp_path, monkeypatch):
    monkeypatch.setattr("archflow.studies.speed.MOST", 100)
    monkeypatch.setattr("archflow.studies.speed.ROUNDS", 1)
    outcome = redo("speed", tmp_path, processes=2)  # two would disturb each other, so only one is used
    assert [each["encoder"] for each in outcome.lines] == encoders()
    assert outcome.failures == []
    for each in outcome.lines:
        assert (each["architectures"], each["threads"], each["device"]) == (100, 1, "cpu")
        assert each["seconds"] > 0
        assert each["versions"]["torch"]
    assert outcome.table.count("\n") == 2 + len(encoders())
    assert [file.name for file in outcome.files] == [f"speed.{ending}" for ending in ("md", "png", "svg", "html")]


def test_every_study_states_its_question():
    assert list(studies()) == [*STUDIES, "operation-probe", "speed"]
    assert all(studies().values())
