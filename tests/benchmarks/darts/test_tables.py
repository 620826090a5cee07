import json
import os
import re
import zipfile

import numpy as np
import pytest

from archflow.benchmarks.darts import tables as nasbench301
from archflow.benchmarks.darts.space import DARTS, OPERATIONS
from archflow.benchmarks.darts.tables import MEASURES
from tests import shared_data

SPACE = DARTS()
PREFIX = "NetworkSelectorDatasetInfo:darts:"
ARCHS = SPACE.sample(6, seed=1)


def config(arch) -> dict:
    """An architecture (normal, reduce), each eight pairs (source, operation), as the official logs write it."""
    found = {
        "CreateImageDataLoader:batch_size": 96,
        "ImageAugmentation:cutout": "True",
        f"{PREFIX}auxiliary": "True",
        f"{PREFIX}drop_path_prob": 0.2,
        f"{PREFIX}init_channels": 32,
        f"{PREFIX}layers": 8,
        "NetworkSelectorDatasetInfo:network": "darts",
        "OptimizerSelector:sgd:learning_rate": 0.025,
        "SimpleLearningrateSchedulerSelector:cosine_annealing:T_max": 100,
    }
    numbers = {(source, node): 0 for node in range(2, 6) for source in range(node)}
    numbers = {edge: number for number, edge in enumerate(numbers)}
    for cell, choices in zip(("normal", "reduce"), arch, strict=True):
        for node in range(2, 6):
            pair = choices[2 * node - 4 : 2 * node - 2]
            for source, operation in pair:
                found[f"{PREFIX}edge_{cell}_{numbers[source, node]}"] = OPERATIONS[operation]
            if node > 2:
                found[f"{PREFIX}inputs_node_{cell}_{node}"] = "_".join(str(source) for source in sorted(dict(pair)))
    return found


def log(arch, val_accuracy=93.21, **of_the_run) -> dict:
    """A training log with all that an official one has."""
    info = {
        "train_loss": 0.41,
        "train_accuracy": 84.6,
        "train_cross_entropy": 0.4,
        "val_accuracy": val_accuracy,
        "val_cross_entropy": 0.29,
        "epochs": 98,
        "model_parameters": 1_451_508,
        "learning_rate": 1e-08,
        "train_datapoints": 40_000,
        "val_datapoints": 10_000,
        "dataset_path": "datasets/CIFAR10.csv",
        "dataset_id": 0,
        "val_accuracy_final": val_accuracy,
    }
    return {
        "final_metric_score": -val_accuracy,
        "optimized_hyperparamater_config": config(arch),
        "budget": 100,
        "info": [info],
        "test_accuracy": 92.5,
        "runtime": 5_400,
        "learning_curves": {"Train/train_accuracy": [40.0, 84.6], "Train/val_accuracy": [50.0, val_accuracy]},
        **of_the_run,
    }


LOG = log(SPACE.edges(ARCHS)[0].tolist())


def write(folder, logs):
    """Logs by their paths in a new folder."""
    for name, content in logs.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def zipped(folder, path, prefix=""):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*"), reverse=True):
            archive.write(file, prefix + file.relative_to(folder).as_posix())
    return path


def assert_equal(table, other):
    assert table.archs == other.archs
    assert list(table.columns) == list(other.columns)
    for name in table.columns:
        np.testing.assert_array_equal(table[name], other[name])


def test_an_architecture_worked_out_by_hand(tmp_path):
    found = {
        key: value for key, value in config([[(0, 0)] * 8] * 2).items() if "edge" not in key and "inputs" not in key
    }
    for cell, names in (("normal", OPERATIONS), ("reduce", OPERATIONS[::-1])):
        edges = {0: 0, 1: 1, 2: 2, 4: 3, 5: 4, 7: 5, 11: 6, 12: 0}
        found |= {f"{PREFIX}edge_{cell}_{edge}": names[operation] for edge, operation in edges.items()}
        found |= {f"{PREFIX}inputs_node_{cell}_{node}": pair for node, pair in ((3, "0_2"), (4, "0_2"), (5, "2_3"))}
    write(tmp_path, {"rs/results_0.json": {**LOG, "optimized_hyperparamater_config": found}})
    table = nasbench301.read(tmp_path)
    assert SPACE.format(table.archs) == [
        "Genotype(normal=[('max_pool_3x3', 0), ('avg_pool_3x3', 1), ('skip_connect', 0), ('sep_conv_3x3', 2), "
        "('sep_conv_5x5', 0), ('dil_conv_3x3', 2), ('dil_conv_5x5', 2), ('max_pool_3x3', 3)], "
        "normal_concat=[2, 3, 4, 5], reduce=[('dil_conv_5x5', 0), ('dil_conv_3x3', 1), ('sep_conv_5x5', 0), "
        "('sep_conv_3x3', 2), ('skip_connect', 0), ('avg_pool_3x3', 2), ('max_pool_3x3', 2), ('dil_conv_5x5', 3)], "
        "reduce_concat=[2, 3, 4, 5])"
    ]


def test_it_holds_the_measures_of_the_logs(tmp_path):
    write(tmp_path, {"rs/results_0.json": LOG})
    table = nasbench301.read(tmp_path)
    assert (table.name, table.space.name, table.default) == ("darts/nasbench301", "darts", "val_accuracy")
    assert table.archs == ARCHS[[0]]
    assert {name: column.tolist() for name, column in table.columns.items()} == {
        "val_accuracy": [93.21],
        "test_accuracy": [92.5],
        "train_accuracy": [84.6],
        "val_cross_entropy": [0.29],
        "train_cross_entropy": [0.4],
        "train_loss": [0.41],
        "runtime": [5_400.0],
        "model_parameters": [1_451_508.0],
        "runs": [1.0],
    }
    assert all(column.dtype == np.float64 for column in table.columns.values())


def test_the_shared_rows_come_back_row_for_row(tmp_path):
    rows = shared_data.rows("nasbench301")
    archs = SPACE.parse([row["arch_compact"] for row in rows])
    accuracies = [float(row["surrogate_val_accuracy"]) for row in rows]
    written = zip(SPACE.edges(archs).tolist(), accuracies, SPACE.parameters(archs).tolist(), strict=True)
    logs = {}
    for number, (arch, accuracy, parameters) in enumerate(written):
        run = log(arch, accuracy)
        run["info"][0]["model_parameters"] = parameters
        logs[f"{('rs', 'de', 'bananas')[number % 3]}/results_{number}{'_ti' * (number % 2)}.json"] = run
    table = nasbench301.read(zipped(write(tmp_path / "logs", logs), tmp_path / "nb_301.zip", "nb_301_v13/"))
    order = np.argsort(SPACE.keys(archs))
    assert table.archs == archs[order]
    assert table["val_accuracy"].tolist() == np.array(accuracies)[order].tolist()
    assert table["model_parameters"].tolist() == SPACE.parameters(table.archs).tolist()
    assert (table["runs"] == 1).all()


@pytest.fixture
def folder(tmp_path):
    """Six networks, the second trained three times, the third twice; other files beside them."""
    arch = SPACE.edges(ARCHS).tolist()
    logs = {f"rs/results_{number}.json": log(arch[number], 90 + number / 10) for number in range(6)}
    logs["de/results_7_ti.json"] = log(arch[1], 91.3, test_accuracy=90.1)
    logs["tpe/seeds/results_1.json"] = log(arch[1], 90.7, runtime=7_000)
    logs["tpe/results_2.json"] = log(arch[2], 94.04)
    logs |= {"rs/configs.json": "no log", "README.md": "no log", "rs/._results_1.json": "\x00"}
    return write(tmp_path / "nb_301_v13_lc_iclr_final", logs)


def test_runs_of_one_network_are_averaged(folder):
    table = nasbench301.read(folder)
    order = np.argsort(SPACE.keys(ARCHS))
    assert table.archs == ARCHS[order]
    for column, expected in {
        "runs": [1, 3, 2, 1, 1, 1],
        "val_accuracy": [90.0, np.mean([90.1, 91.3, 90.7]), np.mean([90.2, 94.04]), 90.3, 90.4, 90.5],
        "test_accuracy": [92.5, np.mean([92.5, 90.1, 92.5]), 92.5, 92.5, 92.5, 92.5],
        "runtime": [5_400, np.mean([5_400, 5_400, 7_000]), 5_400, 5_400, 5_400, 5_400],
    }.items():
        np.testing.assert_allclose(table[column], np.array(expected)[order], rtol=1e-14)


@pytest.mark.parametrize("prefix", ["", "nb_301_v13_lc_iclr_final/", "a/b/"])
def test_a_zip_file_and_its_folder_give_the_same(folder, prefix, tmp_path):
    assert_equal(nasbench301.read(zipped(folder, tmp_path / "logs.zip", prefix)), nasbench301.read(folder))
    assert_equal(nasbench301.read(str(folder.parent)), nasbench301.read(folder))


def test_a_part_of_the_folder_is_a_table_too(folder):
    assert nasbench301.read(folder / "tpe").archs == ARCHS[[1, 2]][np.argsort(SPACE.keys(ARCHS[[1, 2]]))]


def test_a_measure_that_some_runs_lack_is_the_mean_of_the_others(folder):
    run = log(SPACE.edges(ARCHS)[1].tolist(), 95.0, test_accuracy=None, runtime=float("nan"))
    del run["info"][0]["train_loss"]
    write(folder, {"de/results_7_ti.json": run})
    only = log(SPACE.edges(ARCHS)[3].tolist(), 90.3)
    del only["info"][0]["train_loss"], only["runtime"]
    write(folder, {"rs/results_3.json": only})
    table = nasbench301.read(folder)
    keys = SPACE.keys(table.archs).tolist()
    second, fourth = (keys.index(key) for key in SPACE.keys(ARCHS[[1, 3]]).tolist())
    assert table["val_accuracy"][second] == pytest.approx((90.1 + 95.0 + 90.7) / 3)
    assert table["test_accuracy"][second] == 92.5
    assert table["runtime"][second] == (5_400 + 7_000) / 2
    assert table["train_loss"][second] == pytest.approx(0.41)
    assert table["runs"][second] == 3
    assert np.isnan(table["train_loss"][fourth])
    assert np.isnan(table["runtime"]).tolist() == np.isnan(table["train_loss"]).tolist()
    assert np.isnan(table["train_loss"]).sum() == 1


@pytest.mark.parametrize("change", [("init_channels", 50), ("layers", 20), ("budget", 50)])
def test_runs_of_another_setting_are_left_out(folder, change):
    expected = nasbench301.read(folder)
    other = log(SPACE.edges(SPACE.sample(1, seed=9))[0].tolist())
    if change[0] == "budget":
        other["budget"] = change[1]
    else:
        other["optimized_hyperparamater_config"][PREFIX + change[0]] = change[1]
    write(folder, {"rs/results_10.json": other})
    assert_equal(nasbench301.read(folder), expected)
    for file in folder.rglob("results_*.json"):
        if file.name != "results_10.json":
            file.unlink()
    with pytest.raises(
        ValueError, match=r"holds no training run of NAS-Bench-301: of 1 files results_\*\.json, none is"
    ):
        nasbench301.read(folder)


def test_it_says_how_far_it_is(tmp_path):
    write(tmp_path, {f"rs/results_{number}.json": LOG for number in range(1_001)})
    said = []
    table = nasbench301.read(tmp_path, lambda *step: said.append(step))
    assert said == [("reading", done, 1_001) for done in (0, 500, 1_000, 1_001)]
    assert table["runs"].tolist() == [1_001]


# Wrong files


def test_a_damaged_zip_file(folder, tmp_path):
    path = zipped(folder, tmp_path / "nb_301.zip")
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    with pytest.raises(ValueError, match=rf"^{re.escape(str(path))} is truncated or no archive"):
        nasbench301.read(path)
    with zipfile.ZipFile(zipped(folder, path)) as archive:
        at = archive.getinfo("rs/results_3.json").header_offset
    for place in (at, at + 150):  # its header, its content
        path.write_bytes(whole[:place] + b"\xff\xff\xff" + whole[place + 3 :])
        with pytest.raises(ValueError, match=r"nb_301\.zip: rs/results_3\.json is truncated or damaged"):
            nasbench301.read(path)


def test_an_empty_folder_or_zip_file(tmp_path):
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", zipped(tmp_path / "empty", tmp_path / "empty.zip")):
        with pytest.raises(ValueError, match=r"empty(\.zip)? holds no training run of NAS-Bench-301: of 0 files"):
            nasbench301.read(path)


@pytest.mark.parametrize("text", ["", "{", json.dumps(LOG)[:-20], "\x00", "[" * 100_000])
def test_a_log_that_is_no_json(folder, text):
    write(folder, {"rs/results_3.json": text})
    with pytest.raises(ValueError, match=rf"{folder.name}: rs/results_3\.json is truncated or damaged"):
        nasbench301.read(folder)


def changed(changes: dict, **of_the_run) -> dict:
    return {**LOG, "optimized_hyperparamater_config": {**config(GOOD), **changes}, **of_the_run}


GOOD = [[(0, 3), (1, 2), (0, 1), (2, 5), (1, 0), (3, 4), (2, 2), (4, 6)]] * 2


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        ({}, "it lacks 'optimized_hyperparamater_config'"),
        ([], "list indices must be"),
        ("text", ""),
        (3, ""),
        ({name: value for name, value in LOG.items() if name != "info"}, "it lacks 'info'"),
        ({**LOG, "info": []}, "list index out of range"),
        ({**LOG, "info": [{}]}, "it lacks 'val_accuracy'"),
        ({**LOG, "info": [{"val_accuracy": None}]}, "it lacks 'val_accuracy'"),
        ({**LOG, "info": [{"val_accuracy": "93.2"}]}, "its val_accuracy is '93.2', not a number"),
        ({**LOG, "info": [{"val_accuracy": True}]}, "its val_accuracy is True, not a number"),
        ({**LOG, "info": [[93.2]]}, "'list' object has no attribute 'get'"),
        ({**LOG, "test_accuracy": [92.5]}, r"its test_accuracy is \[92.5\], not a number"),
        ({**LOG, "runtime": 10**400}, "int too large"),
        ({**LOG, "optimized_hyperparamater_config": {}}, f"it lacks '{PREFIX}init_channels'"),
        ({**LOG, "optimized_hyperparamater_config": None}, ""),
        (changed({f"{PREFIX}edge_normal_0": "none"}), "its normal cell has the unknown operation 'none'"),
        (changed({f"{PREFIX}edge_reduce_8": 3}), "its reduce cell has the unknown operation 3"),
        (
            changed({f"{PREFIX}edge_reduce_8": ["skip_connect"]}),
            r"its reduce cell has the unknown operation \['skip_connect'\]",
        ),
        (changed({f"{PREFIX}edge_normal_0": None}), "node 2 of its normal cell reads 0_1, but has edges from 1$"),
        (
            changed({f"{PREFIX}edge_reduce_5": "skip_connect"}),
            "node 4 of its reduce cell reads 1_3, but .* from 0, 1, 3$",
        ),
        (changed({f"{PREFIX}inputs_node_normal_5": "1_4"}), "node 5 of its normal cell reads 1_4, but .* from 2, 4$"),
        (changed({f"{PREFIX}inputs_node_normal_5": "4_2"}), "node 5 of its normal cell reads 4_2, but .* from 2, 4$"),
        (
            {
                **LOG,
                "optimized_hyperparamater_config": {k: v for k, v in config(GOOD).items() if "node_normal" not in k},
            },
            f"it lacks '{PREFIX}inputs_node_normal_3'",
        ),
    ],
)
def test_a_file_that_is_no_log_of_the_benchmark(folder, run, reason):
    write(folder, {"rs/results_3.json": json.dumps(run)})
    with pytest.raises(ValueError, match=rf"{folder.name}: rs/results_3\.json is no training log of .*: {reason}"):
        nasbench301.read(folder)


def test_names_in_a_zip_file_lead_nowhere(tmp_path):
    """A member is read in place, whatever its name."""
    path = tmp_path / "nb_301.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../results_0.json", json.dumps(LOG))
    before = sorted(os.listdir(tmp_path.parent))
    assert len(nasbench301.read(path)) == 1
    assert sorted(os.listdir(tmp_path.parent)) == before
    assert os.listdir(tmp_path) == ["nb_301.zip"]
    assert set(MEASURES) < set(nasbench301.read(path).columns)
