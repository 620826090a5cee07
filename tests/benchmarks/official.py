"""A small file of every benchmark in its official format, under its official name."""

import pickle
from pathlib import Path

import torch

from tests.benchmarks.darts import test_tables as test_nasbench301
from tests.benchmarks.nasbench101 import test_tables as test_nasbench101
from tests.benchmarks.nasbench201 import test_hw_nasbench, test_nats_bench
from tests.benchmarks.nasbench_asr import test_tables as test_nasbench_asr
from tests.benchmarks.nasbench_graph import test_full_table as test_nasbench_graph_full
from tests.benchmarks.nasbench_macro import test_tables as test_nasbench_macro
from tests.benchmarks.nasbench_nlp import test_tables as test_nasbench_nlp
from tests.benchmarks.transnas101 import test_tables as test_transnas101


def nasbench101(folder: Path) -> Path:
    path = folder / "nasbench_only108.tfrecord"
    path.write_bytes(b"".join(test_nasbench101.a_training(cell) for cell in (1, 0, 2, 1)))
    return path


def nats(folder: Path) -> Path:
    return test_nats_bench.archive(test_nats_bench.write(folder / test_nats_bench.FOLDER))


def hw(folder: Path) -> Path:
    path = folder / "HW-NAS-Bench-v1_0.pickle"
    path.write_bytes(pickle.dumps(test_hw_nasbench.official()))
    return path


def nasbench301(folder: Path) -> Path:
    choices = test_nasbench301.SPACE.edges(test_nasbench301.ARCHS).tolist()
    logs = {f"rs/results_{number}.json": test_nasbench301.log(arch, 90 + number) for number, arch in enumerate(choices)}
    return test_nasbench301.zipped(
        test_nasbench301.write(folder / "nb_301_v13_lc_iclr_final", logs), folder / "nb_301_v13_lc_iclr_final.zip"
    )


def transnas101(folder: Path) -> Path:
    path = folder / test_transnas101.FILE
    torch.save(test_transnas101.database(test_transnas101.MICRO, test_transnas101.MACRO), path)
    return path


def macro(folder: Path) -> Path:
    path = folder / test_nasbench_macro.FILE
    path.write_text(test_nasbench_macro.PUBLISHED)
    return path


def graph(folder: Path) -> Path:
    return test_nasbench_graph_full.folder(folder, ("proteins", 0)) / "proteins0.bench"


def nlp(folder: Path) -> Path:
    return test_nasbench_nlp.write_archive(folder / "logs.zip", test_nasbench_nlp.LOGS)


def asr(folder: Path) -> Path:
    rows = [test_nasbench_asr.row(cell, [0.5, 0.25 + n], 0.5) for n, cell in enumerate(test_nasbench_asr.SOME)]
    return test_nasbench_asr.write(folder / "nb-asr-e40-1234.pickle", test_nasbench_asr.training(), rows)


WRITERS = {
    "nasbench101": nasbench101,
    "nasbench201/nats": nats,
    "nasbench201/hw": hw,
    "darts/nasbench301": nasbench301,
    "transnas101-micro": transnas101,
    "transnas101-macro": transnas101,
    "nasbench-macro": macro,
    "nasbench-graph/full": graph,
    "nasbench-nlp": nlp,
    "nasbench-asr": asr,
}
"""For each official table what writes its file into a folder."""
