"""Fixtures for the tests of the verbs: small files of every kind, and a fast demonstration."""

import shutil

import numpy as np
import pytest

import archflow
from archflow.benchmarks.own_tables import write_table
from archflow.benchmarks.table import Table
from archflow.benchmarks.tables import keep
from archflow.commands import demonstration
from archflow.ranking.ranker import Ranker
from tests.commands import CELLS, PREVIOUS, SPACE, run, words
from tests.studies import TABLE


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Small files of every kind, valid and invalid, and a data folder with one table."""
    folder = tmp_path_factory.mktemp("made")
    archs, rng = SPACE.sample(CELLS, seed=0), np.random.default_rng(0)
    strings = SPACE.format(archs)
    accuracy = np.log(SPACE.parameters(archs)) + rng.normal(size=CELLS) / 4
    unknown = np.where(np.arange(CELLS) == 7, np.nan, accuracy)
    write_table(folder / "cells.csv", {"arch": strings, "accuracy": accuracy, "same": np.ones(CELLS)})
    write_table(folder / "some.jsonl", {"arch": strings[:20], "accuracy": accuracy[:20]})
    write_table(folder / "others.parquet", {"arch": strings[20:40], "accuracy": accuracy[20:40]})
    write_table(folder / "unknown.csv", {"arch": strings, "accuracy": unknown})
    write_table(folder / "one.csv", {"arch": strings[:1], "accuracy": accuracy[:1]})
    write_table(folder / "twice.csv", {"arch": [*strings[:2], strings[0]]})
    write_table(folder / "words.csv", {"arch": strings, "accuracy": ["good"] * CELLS})
    write_table(folder / "renamed.csv", {"cell": strings, "accuracy": accuracy})
    shutil.copy(folder / "cells.csv", folder / "two words.csv")
    (folder / "cells.txt").write_text("text")
    (folder / "empty.csv").write_text("")
    (folder / "headings.csv").write_text("arch,accuracy\n")
    (folder / "malformed.csv").write_text(f"arch,accuracy\n{strings[0]},1\n{strings[1][:-3]},2\n")
    (folder / "malformed.jsonl").write_text(f'{{"arch": "{strings[0]}"}}\n{{"arch": "|x~0|"}}\n')
    for space, name, count in (("nasbench-graph", "graphs.csv", CELLS), ("darts", "darts.csv", 24)):
        others = archflow.space(space).format(archflow.space(space).sample(count))
        write_table(folder / name, {"arch": others, "accuracy": rng.normal(size=count)})
    write_table(folder / "two.jsonl", {"cell": others[2:4], "arch": others[:2]})

    (folder / "cifar").mkdir()
    (folder / "tiny").mkdir()
    for name, pixels in (("cifar", 32), ("tiny", 16)):
        records = rng.integers(256, size=(20, 1 + 3 * pixels**2), dtype=np.uint8)
        records[:, 0] %= 10
        (folder / name / "data_batch_1.bin").write_bytes(records.tobytes())
    for name in ("no-images", "below", "folder.csv", "logged.csv.log"):
        (folder / name).mkdir()

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("ARCHFLOW_DATA", str(folder / "cache"))
        keep(TABLE)
        (folder / "plain").write_bytes(b"")
        for args in (
            words("pretrain", "--out encoder.archflow"),
            words("pretrain", "--out graphs-encoder.archflow --space nasbench-graph --input graphs.csv --proxy none"),
            words("finetune", "--out ranker.archflow --pretrained encoder.archflow"),
            words("finetune", "--out graphs-ranker.archflow --input graphs.csv --pretrained graphs-encoder.archflow"),
        ):
            outcome = run(*args)
            assert outcome.code == 0, outcome.err
    for name in ("encoder", "ranker"):
        content = (folder / f"{name}.archflow").read_bytes()
        (folder / f"truncated-{name}.archflow").write_bytes(content[: len(content) // 2])
    (folder / "foreign.archflow").write_bytes(bytes(range(256)) * 4)
    archs.save(folder / "archs.archflow")
    return folder


@pytest.fixture
def here(made, tmp_path, monkeypatch):
    """A working folder with these files and the data folder, where every output already exists."""
    folder = tmp_path / "here"
    shutil.copytree(made, folder)
    for name in ("out.csv", "out.archflow", "out.html", "below/report.html"):
        (folder / name).write_bytes(PREVIOUS)
    (folder / "out.csv.partial").write_text('{"archflow": "proxies", "version": 0, "settings": {}}\n')
    monkeypatch.chdir(folder)
    monkeypatch.setenv("ARCHFLOW_DATA", str(folder / "cache"))
    return folder


def quick_ranker(encoder, head, **settings):
    """A ranker that learns little."""
    return Ranker(encoder, head, **{"finetune": {"epochs": 3}, "gp": {"trees": 3}}[head], **settings)


@pytest.fixture
def small_demo(monkeypatch):
    """Shrinks the demonstration to 500 cells and quick heads; returns its table."""
    archs, rng = SPACE.sample(10_000, seed=1)[:500], np.random.default_rng(1)
    accuracy = np.log(SPACE.parameters(archs)) + rng.normal(size=500)
    stand_in = Table("nasbench201/analog", SPACE, archs, {"accuracy": accuracy}, "accuracy")
    monkeypatch.setattr(demonstration, "table", lambda name: stand_in)
    monkeypatch.setattr(demonstration, "Ranker", quick_ranker)
    return stand_in


@pytest.fixture
def mine(here):
    """A user's own table: 120 macro networks; every fourth lacks a score."""
    space = archflow.space("nasbench-macro")
    archs, rng = space.sample(120, seed=1), np.random.default_rng(1)
    score = np.where(np.arange(120) % 4 > 0, rng.normal(size=120), np.nan)
    columns = {"accuracy": np.log(space.parameters(archs)), "score": score, "arch": np.arange(120.0)}
    return keep(Table("lab/mine", space, archs, columns, "accuracy"))
