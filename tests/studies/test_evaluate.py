import importlib.metadata
import json
import platform
import statistics
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau

import archflow
import archflow.studies.evaluate as module
import archflow.support.files
from archflow.benchmarks.nasbench201.space import NASBench201
from archflow.benchmarks.table import Table
from archflow.encoding.registry import save_encoder
from archflow.ranking.ranker import Ranker
from archflow.studies.evaluate import default_pool, evaluate, figures, proxy_column, split, summarise
from archflow.studies.evaluate import tested as one_run

SPACE = NASBench201()
SECONDS = ("pretrain_seconds", "finetune_seconds", "predict_seconds")


def made_up_table(count=300, seed=0) -> Table:
    archs, rng = SPACE.sample(count, seed), np.random.default_rng(seed)
    accuracy = np.log(SPACE.parameters(archs)) + rng.normal(size=count)
    return Table("made up", SPACE, archs, {"accuracy": accuracy, "noise": rng.normal(size=count)}, "accuracy")


TABLE = made_up_table()
SMALL = {
    **{"labels": (0.1, 0.2), "seeds": 2, "permutations": 2, "pool": 100, "device": "cpu"},
    **{"encoder_settings": {"hidden": 8, "layers": 2}},
    **{"pretrain_settings": {"epochs": 2}, "ranker_settings": {"epochs": 2}},
}
RUNS = 16
"""Two methods, two shares, two seeds, two permutations."""


def run(out, table=TABLE, **changes):
    torch.manual_seed(int(torch.randint(1 << 30, ()).item()))  # the caller's random state must not matter
    return evaluate(table, out=out, **{**SMALL, **changes})


def without_seconds(result):
    """The result without what differs from one sitting to the next."""
    runs = [{name: value for name, value in run.items() if name not in SECONDS} for run in result["runs"]]
    summary = [{name: value for name, value in row.items() if "seconds" not in name} for row in result["summary"]]
    return {"settings": result["settings"], "versions": result["versions"], "runs": runs, "summary": summary}


def key(run):
    return run["method"], run["labels"], run["seed"], run["permutation"]


def of_column(result, column):
    """The figures of one column's runs, in the order of their keys."""
    return {key(run): run["tau"] for run in result["runs"] if run["column"] == column}


def values_of(tree, name):
    """All values that stand under a name anywhere in nested dicts and lists."""
    if isinstance(tree, dict):
        own = [tree[name]] if name in tree else []
        return own + [value for item in tree.values() for value in values_of(item, name)]
    return [value for item in tree for value in values_of(item, name)] if isinstance(tree, list) else []


class InterruptAt:
    """A progress callback that raises once so much of a phase is done."""

    def __init__(self, phase, done):
        self.phase, self.done = phase, done

    def __call__(self, phase, done, total):
        if phase == self.phase and done >= self.done:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """A result, and the file it is in."""
    path = tmp_path_factory.mktemp("evaluate") / "evaluate.json"
    return run(path), path


@pytest.fixture(scope="module")
def analog():
    return archflow.table("nasbench201/analog")


# The protocol's splits


@pytest.mark.parametrize(("labels", "labelled"), [(0.01, 78), (0.05, 390), (0.1, 781)])
@pytest.mark.parametrize("permutation", [0, 1, 2])
def test_the_published_splits_of_nasbench201(analog, labels, labelled, permutation):
    pool = default_pool("nasbench201", len(analog))
    part = split(len(analog), pool, labels, permutation)
    assert pool == 7_813
    assert (len(part.labelled), len(part.validation), len(part.test)) == (labelled, 40, 15_625 - 7_813 - 40)
    order = np.random.default_rng(permutation).permutation(15_625)
    assert np.array_equal(part.labelled, order[:labelled])
    assert np.array_equal(part.validation, order[7_813:7_853])
    assert np.array_equal(part.test, order[7_853:])
    everything = np.concatenate(part)
    assert len(np.unique(everything)) == len(everything)


@pytest.mark.parametrize(("name", "count", "pool", "labelled"), [("nasbench101", 423_624, 7_290, (72, 364, 729))])
def test_the_published_pools_of_other_spaces(name, count, pool, labelled):
    assert default_pool(name, count) == pool
    assert tuple(len(split(count, pool, share, 0).labelled) for share in (0.01, 0.05, 0.1)) == labelled


@pytest.mark.parametrize(("count", "most"), [(300, 151), (85, 43)])
def test_the_pool_of_a_small_table_leaves_something_to_test(count, most):
    assert 2 <= default_pool("nasbench201", count) <= most
    assert len(split(count, default_pool("nasbench201", count), 0.5, 0).test) >= 2


def test_more_labels_contain_the_fewer_and_the_rest_stays():
    one, five, ten = (split(15_625, 7_813, share, 4) for share in (0.01, 0.05, 0.1))
    assert np.array_equal(five.labelled[:78], one.labelled)
    assert np.array_equal(ten.labelled[:390], five.labelled)
    assert np.array_equal(one.validation, ten.validation)
    assert np.array_equal(one.test, ten.test)


def test_a_permutation_is_the_same_every_time_and_unlike_the_others():
    first, again, other = split(300, 100, 0.1, 0), split(300, 100, 0.1, 0), split(300, 100, 0.1, 1)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert set(first.labelled) != set(other.labelled)
    assert set(first.validation) != set(other.validation)


def test_rounding_does_not_lose_a_label():
    assert len(split(300, 100, 0.29, 0).labelled) == 29  # 0.29 × 100 is 28.999999999999996
    assert len(split(300, 100, 1.0, 0).labelled) == 100
    assert len(split(300, 100, 0.02, 0).labelled) == 2


@pytest.mark.parametrize("labels", [0, 0.0199, 1e-9, -0.1, 1.01, float("nan"), float("inf")])
def test_a_share_that_leaves_too_few_labels(labels, tmp_path):
    with pytest.raises(ValueError, match=r"of a pool of 100 out of 300 does not leave two labels or more"):
        split(300, 100, labels, 0)
    with pytest.raises(ValueError, match="does not leave two labels or more"):
        run(tmp_path / "out.json", labels=(0.1, labels))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("count", "pool"), [(300, 259), (300, 300), (300, 1_000), (300, 0), (300, -5), (50, 25)])
def test_a_pool_that_does_not_fit(count, pool):
    with pytest.raises(ValueError, match="does not leave"):
        split(count, pool, 0.5, 0)
    assert len(split(300, 258, 0.5, 0).test) == 2


# What the file holds


def test_the_file_holds_what_is_returned(uninterrupted):
    result, path = uninterrupted
    assert json.loads(path.read_text(), parse_constant=pytest.fail) == json.loads(json.dumps(result))
    assert list(result) == ["settings", "versions", "summary", "runs"]
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["evaluate-encoders", "evaluate.json"]


def test_every_run_is_there_once_with_its_figures(uninterrupted):
    runs = uninterrupted[0]["runs"]
    expected = {
        (m, share, seed, number)
        for m in ("none", "fgp")
        for share in (0.1, 0.2)
        for seed in (0, 1)
        for number in (0, 1)
    }
    assert len(runs) == RUNS
    assert {key(each) for each in runs} == expected
    for each in runs:
        assert (each["labelled"], each["tested"]) == ({0.1: 10, 0.2: 20}[each["labels"]], 160)
        assert -1 <= each["tau"] <= 1
        assert 0 <= each["p_at_1"] <= 1
        assert 0 <= each["p_at_5"] <= 1
        assert -1 <= each["validation_tau"] <= 1
        assert each["best_epoch"] in (1, 2)
        assert each["finetune_seconds"] > 0
        assert each["predict_seconds"] > 0
        assert (each["pretrain_seconds"] > 0) == (each["method"] == "fgp")


def test_pretraining_is_described_with_its_losses(uninterrupted):
    for each in uninterrupted[0]["runs"]:
        if each["method"] == "fgp":
            assert [len(curve) for curve in each["pretrain_losses"].values()] == [2, 2]
            settings = each["pretraining"]
            assert (settings["architectures"], settings["epochs"], settings["seed"]) == (300, 2, each["seed"])
            assert (settings["k"], settings["lambda1"], settings["lambda2"]) == (7, 0.05, 0.5)


def test_settings_and_versions_are_kept(uninterrupted):
    result = uninterrupted[0]
    settings = result["settings"]
    assert (settings["table"], settings["space"], settings["columns"]) == ("made up", "nasbench201", ["accuracy"])
    assert (settings["pools"], settings["proxy"], settings["encoder"]) == (
        {"accuracy": 100},
        "closed-form",
        "resgatedgcn",
    )
    assert settings["encoder_settings"] == {"hidden": 8, "layers": 2}
    versions = result["versions"]
    assert versions["archflow"] == archflow.__version__ == importlib.metadata.version("archflow")
    assert versions["python"] == platform.python_version()
    for package in ("torch", "numpy", "scipy"):
        assert versions[package] == importlib.metadata.version(package)


def test_settings_are_those_that_were_used_and_not_only_those_that_were_named(uninterrupted):
    """A default may change from one version to the next, so a result must say which it was made with."""
    ranker = Ranker(archflow.encoder("resgatedgcn", SPACE.vocabulary), epochs=2)
    for name, value in ranker.settings.items():
        if name != "seed":
            assert value in values_of(uninterrupted[0], name), name


def test_the_encoder_is_described_where_nothing_was_named(tmp_path):
    result = run(tmp_path / "out.json", methods=["none"], encoder_settings={"hidden": 8}, seeds=1, permutations=1)
    assert 3 in values_of(result, "layers")


def test_the_summary_is_the_plain_mean_and_the_sample_deviation(uninterrupted):
    result = uninterrupted[0]
    assert [(row["method"], row["labels"], row["runs"]) for row in result["summary"]] == [
        *(("none", 0.1, 4), ("none", 0.2, 4), ("fgp", 0.1, 4), ("fgp", 0.2, 4))
    ]
    for row in result["summary"]:
        runs = [each for each in result["runs"] if key(each)[:2] == (row["method"], row["labels"])]
        for name in ("tau", "p_at_1", "p_at_5", "pretrain_seconds", "finetune_seconds"):
            values = [each[name] for each in runs]
            assert row[name] == pytest.approx(statistics.mean(values))
            assert row[f"{name}_std"] == pytest.approx(statistics.stdev(values))


def test_a_summary_by_hand():
    seconds = {"pretrain_seconds": 1.0, "finetune_seconds": 2.0}
    runs = [
        {"method": "none", "column": "a", "labels": 0.01, "tau": tau, "p_at_1": 0.0, "p_at_5": 0.5, **seconds}
        for tau in (0.1, 0.4)
    ]
    runs.append({"method": "fgp", "column": "a", "labels": 0.01, "tau": 0.9, "p_at_1": 1.0, "p_at_5": 1.0, **seconds})
    none, fgp = summarise(runs)
    assert (none["method"], none["runs"], none["tau"]) == ("none", 2, 0.25)
    assert none["tau_std"] == pytest.approx(0.3 / np.sqrt(2))
    assert (none["p_at_1_std"], none["pretrain_seconds"]) == (0, 1)
    assert (fgp["method"], fgp["runs"], fgp["tau"], fgp["p_at_1"]) == ("fgp", 1, 0.9, 1)


def test_a_run_is_what_the_python_face_gives(uninterrupted):
    """One run without pre-training and one with it, done again step by step."""
    part = split(300, 100, 0.2, 1)
    accuracy = TABLE["accuracy"]
    for method in ("none", "fgp"):
        torch.manual_seed(1)
        model = archflow.encoder("resgatedgcn", SPACE.vocabulary, hidden=8, layers=2)
        if method == "fgp":
            draw = archflow.FlowDraw.sample(7, k=7, std=0.1, seed=1)
            task = archflow.FGP(draw, proxy=proxy_column(TABLE, "closed-form"))
            archflow.pretrain(model, TABLE.archs, task, epochs=2, seed=1, device="cpu")
        ranker = Ranker(model, epochs=2, seed=1, device="cpu")
        validation = TABLE.archs[part.validation], accuracy[part.validation]
        ranker.fit(TABLE.archs[part.labelled], accuracy[part.labelled], validation)
        score = ranker.predict(TABLE.archs[part.test])
        (found,) = [each for each in uninterrupted[0]["runs"] if key(each) == (method, 0.2, 1, 1)]
        assert found["tau"] == pytest.approx(kendalltau(accuracy[part.test], score).statistic, abs=1e-12)
        assert found["validation_tau"] == max(ranker.validation_taus)
        assert found["best_epoch"] == ranker.validation_taus.index(max(ranker.validation_taus)) + 1
        best, top = np.argsort(-accuracy[part.test])[:8], np.argsort(-score)[:8]
        assert found["p_at_5"] == pytest.approx(len(set(best) & set(top)) / 8)


@pytest.mark.parametrize(
    ("taus", "tau", "epoch"), [([0.1, 0.5, 0.2], 0.5, 2), ([np.nan, 0.2, np.nan], 0.2, 2), ([np.nan] * 3, np.nan, 3)]
)
def test_the_best_epoch_where_tau_is_not_always_defined(monkeypatch, taus, tau, epoch):
    class Fitted(Ranker):
        def fit(self, *_):
            self.validation_taus = taus

        def predict(self, archs):
            return np.arange(len(archs))

    monkeypatch.setattr("archflow.studies.evaluate.Ranker", Fitted)
    model = archflow.encoder("mlp", SPACE.vocabulary, hidden=4)
    found = one_run(model, TABLE.archs, TABLE["accuracy"], split(300, 100, 0.2, 1), 0, "cpu", {})
    assert found["validation_tau"] == pytest.approx(tau, nan_ok=True)
    assert found["best_epoch"] == epoch


def test_progress_counts_runs(tmp_path):
    told = []
    run(tmp_path / "out.json", labels=(0.1,), seeds=1, progress=lambda *args: told.append(args))
    assert [each for each in told if each[0] == "runs"] == [("runs", done, 4) for done in (1, 2, 3, 4)]
    assert ("pre-training", 600, 600) in told


def test_first_seed(tmp_path, uninterrupted):
    result = run(tmp_path / "out.json", first_seed=1, seeds=1)
    expected = [each for each in without_seconds(uninterrupted[0])["runs"] if each["seed"] == 1]
    assert without_seconds(result)["runs"] == expected


def test_figures_are_shares_of_the_best():
    accuracy, score = np.arange(100.0), np.arange(100.0)
    score[[99, 98]] = score[[98, 99]]
    found = figures(accuracy, score)
    assert found == {"tau": pytest.approx(1 - 2 / 4950), "p_at_1": 0, "p_at_5": 1}


def test_every_task_is_a_method(tmp_path):
    """With its own settings, which are not those of the others."""
    settings = {"fgp": {"lambda1": 0.25, "draws": 2, "draw_seed": 9}, "zero-cost": {"proxy_loss": "regression"}}
    small = {"labels": (0.1,), "seeds": 1, "permutations": 1, "pretrain_settings": {"epochs": 1}}
    result = run(tmp_path / "out.json", methods=["none", *archflow.tasks()], task_settings=settings, **small)
    assert [each["method"] for each in result["runs"]] == ["none", *archflow.tasks()]
    found = {each["method"]: each["pretraining"] for each in result["runs"] if each["method"] != "none"}
    assert {name: its["task"] for name, its in found.items()} == {name: name for name in archflow.tasks()}
    assert (found["fgp"]["lambda1"], found["fgp"]["draws"], found["fgp"]["draw_seed"]) == (0.25, 2, 9)
    assert (found["fgp"]["proxy_loss"], found["zero-cost"]["proxy_loss"]) == ("ranking", "regression")
    assert len({each["tau"] for each in result["runs"]}) > 3


# Test labels decide nothing


def permuted(table, positions, seed=5):
    """The table with the accuracies at the positions dealt out anew."""
    accuracy = table["accuracy"].copy()
    accuracy[positions] = accuracy[np.random.default_rng(seed).permutation(positions)]
    return replace(table, columns={**table.columns, "accuracy": accuracy})


@pytest.fixture(scope="module")
def one_permutation(tmp_path_factory):
    settings = {"permutations": 1, "labels": (0.2,), "ranker_settings": {"epochs": 6}}
    return settings, run(tmp_path_factory.mktemp("evaluate") / "out.json", **settings)["runs"]


def test_the_labels_of_the_test_set_choose_nothing(tmp_path, one_permutation):
    settings, before = one_permutation
    after = run(tmp_path / "out.json", permuted(TABLE, split(300, 100, 0.2, 0).test), **settings)["runs"]
    for old, new in zip(before, after, strict=True):
        for name in ("validation_tau", "best_epoch", "pretrain_losses"):
            assert old.get(name) == new.get(name)
        assert old["tau"] != new["tau"]


def test_labels_of_the_pool_beyond_the_labelled_share_are_not_used_at_all(tmp_path, one_permutation):
    settings, before = one_permutation
    unused = np.random.default_rng(0).permutation(300)[20:100]
    after = run(tmp_path / "out.json", permuted(TABLE, unused), **settings)["runs"]
    assert [without(each, SECONDS) for each in after] == [without(each, SECONDS) for each in before]


def test_validation_labels_choose_the_epoch(tmp_path, one_permutation):
    settings, before = one_permutation
    after = run(tmp_path / "out.json", permuted(TABLE, split(300, 100, 0.2, 0).validation), **settings)["runs"]
    for old, new in zip(before, after, strict=True):
        assert old["validation_tau"] != new["validation_tau"]


def without(mapping, names):
    return {name: value for name, value in mapping.items() if name not in names}


# Interrupting and resuming


@pytest.fixture
def counted(monkeypatch):
    """How often something is pre-trained and fine-tuned."""
    count = {"pretrain": 0, "fit": 0}

    class Counting(Ranker):
        def fit(self, *args, **kwargs):
            count["fit"] += 1
            return super().fit(*args, **kwargs)

    def pretrain(*args, **kwargs):
        count["pretrain"] += 1
        return archflow.pretrain(*args, **kwargs)

    monkeypatch.setattr(module, "Ranker", Counting)
    monkeypatch.setattr(module, "pretrain", pretrain)
    return count


@pytest.mark.parametrize(
    ("phase", "done", "kept", "pretrained"),
    [("runs", 1, 1, 2), ("runs", 8, 8, 2), ("runs", 9, 9, 1), ("runs", 15, 15, 0), ("pre-training", 300, 8, 2)],
)
def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(
    tmp_path, uninterrupted, counted, phase, done, kept, pretrained
):
    out = tmp_path / "evaluate.json"
    with pytest.raises(KeyboardInterrupt):
        run(out, progress=InterruptAt(phase, done))
    before = json.loads(out.read_text())
    assert len(before["runs"]) == kept
    counted.update(pretrain=0, fit=0)
    told = []
    result = run(out, resume=True, progress=lambda *args: told.append(args))
    assert without_seconds(result) == without_seconds(uninterrupted[0])
    assert result["runs"][:kept] == before["runs"]  # with their seconds
    assert counted == {"pretrain": pretrained, "fit": RUNS - kept}
    assert [each[1] for each in told if each[0] == "runs"] == list(range(kept + 1, RUNS + 1))
    assert json.loads(out.read_text()) == json.loads(json.dumps(result))


def test_interrupted_again_and_again(tmp_path, uninterrupted, counted):
    out, sittings = tmp_path / "evaluate.json", 0
    while True:
        kept = len(json.loads(out.read_text())["runs"]) if out.exists() else 0
        try:
            result = run(out, resume=True, progress=InterruptAt("runs", kept + 5))
            break
        except KeyboardInterrupt:
            sittings += 1
    assert (sittings, counted) == (3, {"pretrain": 2, "fit": RUNS})
    assert without_seconds(result) == without_seconds(uninterrupted[0])


@pytest.fixture
def finished(tmp_path, uninterrupted):
    """A copy of the finished result with the encoders beside it."""
    path = tmp_path / "evaluate.json"
    path.write_bytes(uninterrupted[1].read_bytes())
    (tmp_path / "evaluate-encoders").mkdir()
    for file in uninterrupted[1].with_name("evaluate-encoders").iterdir():
        (tmp_path / "evaluate-encoders" / file.name).write_bytes(file.read_bytes())
    return path


def test_a_finished_result_is_left_as_it_is(finished, uninterrupted, counted):
    result = run(finished, resume=True)
    assert json.loads(json.dumps(result)) == json.loads(json.dumps(uninterrupted[0]))
    assert counted == {"pretrain": 0, "fit": 0}


def test_resume_begins_where_there_is_no_result(tmp_path, uninterrupted):
    assert without_seconds(run(tmp_path / "out.json", resume=True)) == without_seconds(uninterrupted[0])


def test_without_resume_everything_is_done_again(finished, counted):
    run(finished, labels=(0.1,), seeds=1, permutations=1)
    assert counted == {"pretrain": 1, "fit": 2}
    assert len(json.loads(finished.read_text())["runs"]) == 2


def test_a_result_may_be_widened(finished, counted):
    result = run(finished, resume=True, permutations=3, labels=(0.1, 0.2, 0.3))
    assert len(result["runs"]) == 2 * 3 * 2 * 3
    assert counted == {"pretrain": 0, "fit": 36 - RUNS}


@pytest.mark.parametrize(
    "changes",
    [
        {"columns": ["noise"]},
        {"pool": 110},
        {"proxy": "flops"},
        {"encoder_settings": {"hidden": 16, "layers": 2}},
        {"task_settings": {"fgp": {"lambda1": 0.25}}},
        {"pretrain_settings": {"epochs": 3}},
        {"ranker_settings": {"epochs": 3}},
        {"table": replace(TABLE, name="another")},
        {"table": replace(TABLE, columns={"accuracy": TABLE["noise"]})},
        {"table": replace(TABLE, archs=TABLE.archs[np.arange(300)[::-1]])},
    ],
    ids=["column", "pool", "proxy", "encoder", "task", "pretraining", "ranker", "table", "accuracies", "architectures"],
)
def test_resuming_with_other_settings_or_data_is_refused(finished, changes, counted):
    content = finished.read_bytes()
    with pytest.raises(ValueError, match=r"evaluate\.json was made with other"):
        run(finished, resume=True, **changes)
    assert finished.read_bytes() == content
    assert counted == {"pretrain": 0, "fit": 0}


@pytest.mark.parametrize(
    "content",
    [b"", b'{"settings": {}, "runs": [', b"[]", b"{}", b"3", b"null", b"text", bytes(range(256)), b'{"runs": []}'],
    ids=["empty", "truncated", "list", "object", "number", "null", "text", "bytes", "no settings"],
)
def test_resuming_from_something_else(tmp_path, content, counted):
    out = tmp_path / "evaluate.json"
    out.write_bytes(content)
    with pytest.raises(ValueError, match=r"evaluate\.json") as caught:
        run(out, resume=True)
    assert "\n" not in str(caught.value)
    assert out.read_bytes() == content
    assert counted == {"pretrain": 0, "fit": 0}


def test_resuming_from_runs_that_are_none(finished):
    content = {**json.loads(finished.read_text()), "runs": [{"method": "none"}]}
    finished.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"evaluate\.json is no result of evaluate"):
        run(finished, resume=True)


def test_a_kept_encoder_that_is_damaged(finished):
    content = json.loads(finished.read_text())
    content["runs"] = [each for each in content["runs"] if each["method"] == "none"]
    finished.write_text(json.dumps(content))
    file = finished.with_name("evaluate-encoders") / "fgp-seed0.archflow"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"fgp-seed0\.archflow is truncated"):
        run(finished, resume=True)


def test_a_kept_encoder_that_is_missing_or_anothers_is_made_again(finished, uninterrupted, counted):
    content = json.loads(finished.read_text())
    content["runs"] = [each for each in content["runs"] if each["method"] == "none"]
    finished.write_text(json.dumps(content))
    folder = finished.with_name("evaluate-encoders")
    (folder / "fgp-seed0.archflow").unlink()
    save_encoder(archflow.encoder("resgatedgcn", SPACE.vocabulary, hidden=8), folder / "fgp-seed1.archflow")
    assert without_seconds(run(finished, resume=True)) == without_seconds(uninterrupted[0])
    assert counted["pretrain"] == 2


def test_a_full_disk_leaves_the_previous_result(finished, monkeypatch):
    content = finished.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archflow.support.files.os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        run(finished, methods=["none"], seeds=1, permutations=1)
    assert finished.read_bytes() == content


# Wrong use


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"methods": ["fgp", "magic"]},
            "unknown method 'magic'; known methods: none, fgp, zero-cost, arch2vec, gmae, graphcl$",
        ),
        ({"methods": []}, "known methods: none, fgp"),
        ({"proxy": "luck"}, "unknown proxy 'luck'; known: closed-form, parameters, .*flops, none, accuracy, noise"),
        ({"columns": ["luck"]}, "made up has no column 'luck'; it has: accuracy, noise"),
        (
            {"encoder": "luck"},
            "unknown encoder 'luck'; known encoders: digcn, .*resgatedgcn, transformer$",
        ),
        ({"encoder_settings": {"luck": 1}}, "luck"),
        ({"seeds": 0}, "seeds"),
        ({"permutations": 0}, "permutations"),
        ({"pool": 290}, "does not leave"),
        ({"device": "abacus"}, "there is no device 'abacus' here"),
        ({"task_settings": {"fgp": {"lambda1": 0, "lambda2": 0}}}, "nothing to learn"),
        ({"task_settings": {"fgp": {"luck": 1}}}, "the task fgp has no setting 'luck'; it has: alpha, .*lambda1"),
        ({"task_settings": {"zero-cost": {}, "gmae": {}}}, "settings for gmae, zero-cost, which is not compared"),
        ({"methods": ["zero-cost"], "proxy": "none"}, "the task zero-cost learns from proxies, but there are none"),
    ],
    ids=str,
)
def test_wrong_use(tmp_path, changes, reason):
    out = tmp_path / "out.json"
    out.write_text("the previous content")
    with pytest.raises(ValueError, match=reason):
        run(out, methods=changes.pop("methods", ["fgp"]), **changes)
    assert out.read_text() == "the previous content"


def test_a_table_without_a_default_column_needs_one_to_be_named(tmp_path):
    with pytest.raises(ValueError, match="column") as caught:
        run(tmp_path / "out.json", replace(TABLE, default=""))
    assert "column ''" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("accuracy", "reason"),
    [
        (np.full(300, np.nan), "holds no number"),
        (np.where(np.arange(300) == 7, np.inf, TABLE["accuracy"]), "infinity"),
        (np.ones(300), "equal"),
        (TABLE["accuracy"][:-1], "299"),
    ],
    ids=["nothing", "infinity", "equal", "short"],
)
def test_accuracies_that_cannot_teach(tmp_path, accuracy, reason):
    with pytest.raises(ValueError, match=rf"'accuracy'.*{reason}|{reason}.*'accuracy'"):
        run(tmp_path / "out.json", replace(TABLE, columns={"accuracy": accuracy}))
    assert not list(tmp_path.iterdir())


def test_an_unwritable_result_is_noticed_before_the_work(tmp_path, counted):
    (tmp_path / "file").write_text("text")
    with pytest.raises(OSError, match="file"):
        run(tmp_path / "file" / "out.json")
    with pytest.raises(OSError, match="folder"):
        run(tmp_path)
    assert counted == {"pretrain": 0, "fit": 0}
    assert (tmp_path / "file").read_text() == "text"


# Several columns, and architectures that nobody trained


def test_several_columns_share_the_pre_trained_encoders(tmp_path, counted, uninterrupted):
    both = run(tmp_path / "both.json", columns=["accuracy", "noise"])
    assert counted == {"pretrain": 2, "fit": 2 * RUNS}
    assert both["settings"]["columns"] == ["accuracy", "noise"]
    assert of_column(both, "accuracy") == of_column(uninterrupted[0], "accuracy")
    assert [(row["method"], row["column"], row["labels"], row["runs"]) for row in both["summary"]] == [
        (method, column, share, 4)
        for method in ("none", "fgp")
        for column in ("accuracy", "noise")
        for share in (0.1, 0.2)
    ]
    alone = run(tmp_path / "alone.json", columns=["noise"])
    assert of_column(both, "noise") == of_column(alone, "noise")


def test_architectures_without_an_accuracy_are_pre_trained_on_but_not_tested(tmp_path):
    unknown = np.random.default_rng(5).random(300) < 0.3
    partly = replace(TABLE, columns={"accuracy": np.where(unknown, np.nan, TABLE["accuracy"])})
    known = np.flatnonzero(~unknown)
    only = Table("made up", SPACE, TABLE.archs[known], {"accuracy": TABLE["accuracy"][known]}, "accuracy")
    first, second = (run(tmp_path / f"{len(table)}.json", table) for table in (partly, only))
    assert all(each["tested"] == len(known) - 140 for each in first["runs"])
    for one, other in zip(first["runs"], second["runs"], strict=True):
        assert key(one) == key(other)
        if one["method"] == "none":
            assert one["tau"] == other["tau"]
        else:
            assert one["pretrain_losses"] != other["pretrain_losses"]


def test_labels_above_one_are_a_number():
    assert len(split(300, 100, 56, 0).labelled) == 56
    assert np.array_equal(split(300, 100, 56, 1).labelled, split(300, 100, 0.56, 1).labelled)
    for labels in (101, 1.5, -3):
        with pytest.raises(ValueError, match="does not leave"):
            split(300, 100, labels, 0)


# Proxies


def test_proxies_by_name():
    parameters, flops = SPACE.parameters(TABLE.archs), SPACE.flops(TABLE.archs)
    assert np.array_equal(proxy_column(TABLE, "parameters"), parameters[:, None])
    assert np.array_equal(proxy_column(TABLE, "flops"), flops[:, None])
    assert np.array_equal(proxy_column(TABLE, "noise,flops"), np.stack([TABLE["noise"], flops], axis=1))
    assert proxy_column(TABLE, "none") is None
    closed = proxy_column(TABLE, "closed-form")
    assert np.array_equal(closed, np.stack([SPACE.proxy(name, TABLE.archs) for name in SPACE.proxies], axis=1))
    graph_space = archflow.space("nasbench-graph")
    assert proxy_column(Table("mine", graph_space, graph_space.sample(3), {}), "closed-form") is None
    own = replace(TABLE, columns={"parameters": TABLE["noise"]})
    assert np.array_equal(proxy_column(own, "parameters"), TABLE["noise"][:, None])
    with pytest.raises(
        ValueError, match=r"unknown proxy 'luck'; known: closed-form, parameters, .*flops, none, accuracy, noise"
    ):
        proxy_column(TABLE, "luck")


def test_a_space_without_closed_forms_says_where_the_sizes_are():
    graphs = archflow.space("nasbench-graph")
    with pytest.raises(ValueError, match=r"no closed form for parameters.*<dataset>/para"):
        proxy_column(Table("mine", graphs, graphs.sample(5), {}), "parameters")


@pytest.mark.parametrize("proxy", ["none", "noise", "flops"])
def test_pretraining_on_another_proxy(tmp_path, proxy):
    settings = {"methods": ["fgp"], "seeds": 1, "permutations": 1, "labels": (0.1,)}
    (each,) = run(tmp_path / "out.json", proxy=proxy, **settings)["runs"]
    assert ("proxies" in each["pretrain_losses"]) == (proxy != "none")
