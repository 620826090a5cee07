import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau

from archflow.benchmarks.table import Table
from archflow.encoding.files import load_encoder
from archflow.encoding.registry import seeded_encoder
from archflow.pretraining.loop import PretrainSettings
from archflow.pretraining.registry import tasks
from archflow.ranking.finetune import FinetuneSettings
from archflow.ranking.ranker import Ranker
from archflow.studies.evaluate import evaluate
from archflow.studies.lines import FILE, read
from archflow.studies.protocol import split
from archflow.support.versions import versions
from tests.studies import SPACE, InterruptAt, without_seconds

RUNS = 16
"""Two methods, two shares, two seeds, two splits."""


def made_up_table(count=300, seed=0) -> Table:
    archs, rng = SPACE.sample(count, seed), np.random.default_rng(seed)
    accuracy = np.log(SPACE.parameters(archs)) + rng.normal(size=count)
    return Table("made up", SPACE, archs, {"accuracy": accuracy, "noise": rng.normal(size=count)}, "accuracy")


TABLE = made_up_table()
SMALL = {
    **{"labels": (0.1, 0.2), "seeds": 2, "splits": 2, "pool": 100, "device": "cpu"},
    **{"encoder_settings": {"hidden": 8, "layers": 2}},
    **{"pretraining": PretrainSettings(epochs=2), "finetuning": FinetuneSettings(epochs=2)},
}
ONE = {"labels": (0.1,), "seeds": 1, "splits": 1}


def run(out, table=TABLE, **changes):
    torch.manual_seed(int(torch.randint(1 << 30, ()).item()))  # the result must not depend on the caller's random state
    return evaluate(table, out=out, **{**SMALL, **changes})


def place(line):
    return line["pretext"], line["labels"], line["seed"], line["split"]


def kept(folder, line):
    """The encoder of a line and its provenance."""
    return load_encoder(folder / "encoders" / f"{line['encoder_key']}.archflow")


def taus(outcome, column="accuracy"):
    """τ of the runs on one column by their place."""
    return {place(line): line["tau"] for line in outcome.lines if line["column"] == column}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An outcome, and its folder."""
    folder = tmp_path_factory.mktemp("evaluate")
    return run(folder), folder


# What the folder holds


def test_every_run_is_one_line_with_its_scores(whole):
    outcome, folder = whole
    raw = [json.loads(text, parse_constant=pytest.fail) for text in (folder / FILE).read_text().splitlines()]
    assert sorted(raw, key=place) == sorted(outcome.lines, key=place)
    assert (outcome.runs, outcome.failures) == (RUNS, [])
    assert [place(line) for line in outcome.lines] == [
        (method, share, seed, number)
        for method in ("none", "fgp")
        for seed in (0, 1)
        for share in (0.1, 0.2)
        for number in (0, 1)
    ]
    for line in outcome.lines:
        counts = ({0.1: 10, 0.2: 20}[line["labels"]], 40, 160)
        assert (line["labelled"], line["validation"], line["test"]) == counts
        assert -1 <= line["tau"] <= 1
        assert 0 <= line["p_at_1"] <= 1
        assert 0 <= line["p_at_5"] <= 1
        assert -1 <= line["validation_tau"] <= 1
        assert line["best_epoch"] in (1, 2)
        assert line["seconds"] > 0
        assert (line["pretrain_seconds"] > 0) == (line["pretext"] == "fgp") == bool(line["encoder_key"])
        assert line["versions"] == versions()
    assert outcome.table == outcome.files[0].read_text() == (folder / "evaluate.md").read_text()
    assert outcome.table.count("\n") == 2 + 4 + 1 + 2 + 2  # two methods × two shares, and the gains table


def test_a_line_records_all_settings_including_defaults(tmp_path):
    """Defaults may change between versions, so a result must record the values that it was made with."""
    (line,) = run(tmp_path, **ONE, methods=["fgp"], encoder_settings={"hidden": 8}).lines
    settings = line["settings"]
    assert settings["encoder_settings"] == {"hidden": 8, "layers": 3, "dropout": 0.0}
    assert settings["head_settings"] == {**vars(FinetuneSettings()), "epochs": 2}
    assert settings["pretraining"] == {**vars(PretrainSettings()), "epochs": 2}
    source = settings["source"]
    assert (source["table"], source["column"], source["pool"], source["proxies"]) == (
        *("made up", "accuracy", 100, "closed-form"),
    )


def test_a_kept_encoder_records_its_pre_training(whole):
    outcome, folder = whole
    for line in outcome.lines:
        if line["pretext"] == "fgp":
            model, provenance = kept(folder, line)
            assert model.name == line["encoder"]
            assert [len(curve) for curve in provenance["losses"].values()] == [2, 2]
            its = provenance["pretraining"]
            assert (its["architectures"], its["epochs"], its["seed"]) == (300, 2, line["seed"])
            assert (its["k"], its["lambda1"], its["lambda2"]) == (7, 0.05, 0.5)
            assert provenance["seconds"] == line["pretrain_seconds"]


def test_a_run_equals_the_same_steps_through_the_public_api(whole):
    """One run without pre-training and one with it, repeated step by step."""
    outcome, folder = whole
    part, accuracy = split(300, 100, 0.2, 1), TABLE["accuracy"]
    for method in ("none", "fgp"):
        (line,) = [each for each in outcome.lines if place(each) == (method, 0.2, 1, 1)]
        plain = seeded_encoder("resgatedgcn", SPACE.vocabulary, 1, {"hidden": 8, "layers": 2})
        model = plain if method == "none" else kept(folder, line)[0]
        ranker = Ranker(model, "finetune", seed=1, epochs=2, device="cpu")
        validation = TABLE.archs[part.validation], accuracy[part.validation]
        score = ranker.fit(TABLE.archs[part.labelled], accuracy[part.labelled], validation).predict(
            TABLE.archs[part.test]
        )
        assert line["tau"] == pytest.approx(kendalltau(accuracy[part.test], score).statistic, abs=1e-12)
        assert line["validation_tau"] == max(ranker.validation_taus)
        assert line["best_epoch"] == ranker.validation_taus.index(max(ranker.validation_taus)) + 1
        best, top = np.argsort(-accuracy[part.test])[:8], np.argsort(-score)[:8]
        assert line["p_at_5"] == pytest.approx(len(set(best) & set(top)) / 8)


def test_progress_counts_runs(tmp_path):
    told = []
    run(tmp_path, labels=(0.1,), seeds=1, progress=lambda *args: told.append(args))
    counts = [done for phase, done, total in told if phase == "runs"]
    assert (counts, {total for phase, _, total in told if phase == "runs"}) == ([0, 2, 4], {4})
    assert ("pre-training", 600, 600) in told


def test_first_seed(tmp_path, whole):
    outcome = run(tmp_path, first_seed=1, seeds=1)
    expected = [line for line in whole[0].lines if line["seed"] == 1]
    assert without_seconds(outcome.lines) == without_seconds(expected)


def test_every_task_is_a_method_with_its_own_settings(tmp_path):
    settings = {"fgp": {"lambda1": 0.25, "draws": 2, "draw_seed": 9}, "zero-cost": {"proxy_loss": "regression"}}
    outcome = run(
        tmp_path, methods=["none", *tasks()], task_settings=settings, pretraining=PretrainSettings(epochs=1), **ONE
    )
    assert [line["pretext"] for line in outcome.lines] == ["none", *tasks()]
    found = {
        line["pretext"]: kept(tmp_path, line)[1]["pretraining"] for line in outcome.lines if line["pretext"] != "none"
    }
    assert {name: its["task"] for name, its in found.items()} == {name: name for name in tasks()}
    assert (found["fgp"]["lambda1"], found["fgp"]["draws"], found["fgp"]["draw_seed"]) == (0.25, 2, 9)
    assert (found["fgp"]["proxy_loss"], found["zero-cost"]["proxy_loss"]) == ("ranking", "regression")
    assert len({line["tau"] for line in outcome.lines}) > 3


def test_rivals_are_listed_with_the_encoder_and_the_best_is_bold(tmp_path):
    outcome = run(tmp_path, methods=["none", "random", "proxy:parameters"], **ONE)
    assert [(line["encoder"], line["head"]) for line in outcome.lines] == [
        *(("resgatedgcn", "finetune"), ("none", "random"), ("none", "proxy:parameters")),
    ]
    assert outcome.table.count("| **") >= 3
    assert "| nasbench201 | none | none | proxy:parameters | 1 | **" in outcome.table
    assert not list((tmp_path / "encoders").glob("*.archflow"))


# Test labels influence no choice


def permuted(table, positions, seed=5):
    """The table with the accuracies at the positions permuted."""
    accuracy = table["accuracy"].copy()
    accuracy[positions] = accuracy[np.random.default_rng(seed).permutation(positions)]
    return replace(table, columns={**table.columns, "accuracy": accuracy})


@pytest.fixture(scope="module")
def one_split(tmp_path_factory):
    settings = {"splits": 1, "labels": (0.2,), "finetuning": FinetuneSettings(epochs=6)}
    folder = tmp_path_factory.mktemp("evaluate")
    return settings, run(folder, **settings).lines, folder


def changed_scores(one_split, positions):
    """The scores of each run that change if the accuracies at these positions are permuted; the folder is shared."""
    settings, before, folder = one_split
    after = run(folder, permuted(TABLE, positions), **settings).lines
    names = ("tau", "validation_tau", "best_epoch", "encoder_key")
    return [{n for n in names if old[n] != new[n]} for old, new in zip(before, after, strict=True)]


def test_test_labels_influence_no_choice(one_split):
    assert changed_scores(one_split, split(300, 100, 0.2, 0).test) == [{"tau"}] * 4


def test_pool_labels_beyond_the_labelled_share_are_not_used(one_split):
    assert changed_scores(one_split, np.random.default_rng(0).permutation(300)[20:100]) == [set()] * 4


def test_validation_labels_choose_the_epoch(one_split):
    found = changed_scores(one_split, split(300, 100, 0.2, 0).validation)
    assert all("validation_tau" in names and "encoder_key" not in names for names in found)


# Interrupting and resuming


@pytest.mark.parametrize(
    ("phase", "done", "kept_runs", "pretrained"),
    [("runs", 4, 4, 2), ("fine-tuning", 2, 2, 2), ("runs", 12, 12, 1), ("pre-training", 300, 8, 2)],
)
def test_an_interrupted_call_resumes_as_if_nothing_had_happened(
    tmp_path, whole, counted, phase, done, kept_runs, pretrained
):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, progress=InterruptAt(phase, done))
    before = read(tmp_path)
    assert len(before) == kept_runs
    counted.update(pretrain=0, fit=0)
    told = []
    outcome = run(tmp_path, progress=lambda *args: told.append(args))
    assert without_seconds(outcome.lines) == without_seconds(whole[0].lines)
    assert read(tmp_path)[:kept_runs] == before  # with their seconds
    assert counted == {"pretrain": pretrained, "fit": RUNS - kept_runs}
    assert next(each[1] for each in told if each[0] == "runs") == kept_runs


def test_a_repeated_call_does_nothing_and_a_wider_grid_only_the_rest(tmp_path, whole, counted):
    out = shutil.copytree(whole[1], tmp_path / "out")
    assert run(out).lines == whole[0].lines
    assert counted == {"pretrain": 0, "fit": 0}
    assert len(run(out, splits=3, labels=(0.1, 0.2, 0.3)).lines) == 2 * 3 * 2 * 3
    assert counted == {"pretrain": 0, "fit": 36 - RUNS}


@pytest.mark.parametrize(
    ("changes", "pretrained"),
    [
        ({"columns": ["noise"]}, 0),
        ({"pool": 110}, 0),
        ({"proxies": "flops"}, 2),
        ({"encoder_settings": {"hidden": 16, "layers": 2}}, 2),
        ({"task_settings": {"fgp": {"lambda1": 0.25}}}, 2),
        ({"pretraining": PretrainSettings(epochs=3)}, 2),
        ({"finetuning": FinetuneSettings(epochs=3)}, 0),
        ({"table": replace(TABLE, columns={"accuracy": TABLE["noise"]})}, 0),
        ({"table": replace(TABLE, archs=TABLE.archs[np.arange(300)[::-1]])}, 2),
    ],
    ids=["column", "pool", "proxies", "encoder", "task", "pretraining", "head", "accuracies", "architectures"],
)
def test_other_settings_or_data_give_new_runs_in_the_same_folder(tmp_path, whole, changes, pretrained, counted):
    out = shutil.copytree(whole[1], tmp_path / "out")
    outcome = run(out, labels=(0.1,), splits=1, **changes)
    assert read(out)[:RUNS] == read(whole[1])
    new = {line["key"] for line in outcome.lines} - {line["key"] for line in whole[0].lines}
    assert len(outcome.lines) == 4
    # Without pre-training, its settings do not matter.
    assert len(new) == (2 if {"proxies", "task_settings", "pretraining"} & changes.keys() else 4)
    assert counted == {"pretrain": pretrained, "fit": len(new)}
    assert len({line["encoder_key"] for line in outcome.lines} - {""}) == 2


# Wrong use


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"methods": ["fgp", "magic"]}, "unknown method 'magic'; known methods: none, .*fgp"),
        ({"methods": []}, "no methods are given"),
        ({"proxies": "luck"}, "unknown proxy 'luck'; known: closed-form, .*parameters, .*accuracy, noise"),
        ({"methods": ["proxy:luck"]}, "unknown proxy 'luck'"),
        ({"columns": ["luck"]}, "made up has no column 'luck'; it has: accuracy, noise"),
        ({"encoder": "luck"}, "unknown encoder 'luck'; known encoders: digcn, .*resgatedgcn, transformer$"),
        ({"encoder_settings": {"luck": 1}}, "luck"),
        ({"seeds": 0}, "seeds"),
        ({"splits": 0}, "splits"),
        ({"pool": 290}, "does not leave"),
        ({"labels": (0.1, 0.0199)}, "does not leave two labels or more"),
        ({"device": "abacus"}, "there is no device 'abacus' here"),
        ({"task_settings": {"fgp": {"lambda1": 0.0, "lambda2": 0.0}}}, "nothing to learn"),
        ({"task_settings": {"fgp": {"luck": 1}}}, "the task fgp has no setting 'luck'; it has: alpha, .*lambda1"),
        ({"task_settings": {"zero-cost": {}, "gmae": {}}}, "settings are given for gmae, zero-cost, but no method"),
        ({"methods": ["zero-cost"], "proxies": "none"}, "the task zero-cost learns from proxies, but there are none"),
        ({"table": replace(TABLE, default="")}, "which of its columns is the accuracy"),
        ({"table": replace(TABLE, columns={"accuracy": np.ones(300)})}, "equal"),
    ],
)
def test_wrong_use(tmp_path, changes, reason):
    with pytest.raises(ValueError, match=reason):
        run(tmp_path, **{"methods": ["fgp"], **changes})
    assert not list(tmp_path.iterdir())


def test_an_unwritable_folder_is_noticed_before_the_work(tmp_path, counted):
    (tmp_path / "file").write_text("text")
    with pytest.raises(OSError, match="file"):
        run(tmp_path / "file")
    assert counted == {"pretrain": 0, "fit": 0}
    assert (tmp_path / "file").read_text() == "text"


# Several columns, and architectures without an accuracy


def test_several_columns_share_the_pre_trained_encoders(tmp_path, counted, whole):
    both = run(tmp_path, columns=["accuracy", "noise"])
    assert counted == {"pretrain": 2, "fit": 2 * RUNS}
    assert taus(both) == taus(whole[0])
    assert both.table.count("| noise |") == both.table.count("| accuracy |") == 4
    alone = run(tmp_path / "alone", columns=["noise"])
    assert taus(both, "noise") == taus(alone, "noise")


def test_architectures_without_an_accuracy_are_pre_trained_on_but_not_tested(tmp_path):
    unknown = np.random.default_rng(5).random(300) < 0.3
    partly = replace(TABLE, columns={"accuracy": np.where(unknown, np.nan, TABLE["accuracy"])})
    known = np.flatnonzero(~unknown)
    only = Table("made up", SPACE, TABLE.archs[known], {"accuracy": TABLE["accuracy"][known]}, "accuracy")
    first, second = (run(tmp_path, table).lines for table in (partly, only))
    for one, other in zip(first, second, strict=True):
        assert one["test"] == other["test"] == len(known) - 140
        assert place(one) == place(other)
        assert (one["encoder_key"] == other["encoder_key"]) == (one["pretext"] == "none")
        assert one["pretext"] == "fgp" or one["tau"] == other["tau"]


@pytest.mark.parametrize("proxies", ["none", "noise", "flops"])
def test_pretraining_on_other_proxies(tmp_path, proxies):
    (line,) = run(tmp_path, proxies=proxies, methods=["fgp"], **ONE).lines
    assert ("proxies" in kept(tmp_path, line)[1]["losses"]) == (proxies != "none")
