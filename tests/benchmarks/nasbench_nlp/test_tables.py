import json
import zipfile
from collections import defaultdict

import numpy as np
import pytest

from archflow.benchmarks.nasbench_nlp import tables as nasbench_nlp
from archflow.benchmarks.nasbench_nlp.space import NASBenchNLP
from tests import shared_data
from tests.benchmarks.nasbench_nlp.test_space import GRU, LSTM, RNN

SPACE = NASBenchNLP()


def log(recipe: str, recipe_id: int, valid=(5.0, 4.0, 4.5), status: str = "OK", **more) -> tuple[str, dict]:
    """Name and content of a log as the benchmark's script writes them; losses on other sets follow those on this."""
    content = {
        "data": "data/ptb",
        "recepie_id": recipe_id,
        "epochs": 50,
        "recepie": recipe,
        "experiment_id": 999_900_000 + recipe_id,
        "init_time": "2020-04-19_08-20-59",
        "num_params": 1_000 + recipe_id,
        "wall_times": [200.0] * len(valid),
        "train_losses": [loss - 0.5 for loss in valid],
        "val_losses": list(valid),
        "test_losses": [loss + 0.25 for loss in valid],
        "status": status,
    } | more
    return f"log_stats_model_{recipe_id}_{content['init_time']}_{content['experiment_id']}.json", content


def write_folder(path, logs):
    path.mkdir(exist_ok=True)
    for name, content in logs:
        (path / name).write_text(json.dumps(content))
    return path


def write_archive(path, logs, folder="train_logs_single_run/"):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in logs:
            archive.writestr(folder + name, json.dumps(content))
            archive.writestr(f"__MACOSX/{folder}._{name}", b"\0\5\x16\7")
    return path


RENAMED = RNN.replace('"f"', '"node_0"').replace('["x", "h_prev_0"]', '["h_prev_0", "x"]')
LOGS = [
    log(GRU, 1_000_002, [3.0, 2.0, 2.5, 2.25]),
    log(RENAMED, 7, [6.0, 5.0]),
    log(LSTM, 1_000_001, [4.0, float("nan")], status="loss is nan!"),
    log(RNN, 1_000_000, [5.0, 4.0, 4.5], num_params=1_007),
    log(RNN, 1_000_003, [9.0], status="Exception: out of memory"),
]
nan = np.nan
EXPECTED = {
    "valid_score": [-4.5, nan, -2.0],
    "best_valid_loss": [4.5, nan, 2.0],
    "test_loss": [4.75, nan, 2.25],
    "last_valid_loss": [4.75, nan, 2.25],
    "last_test_loss": [5.0, nan, 2.5],
    "last_train_loss": [4.25, nan, 1.75],
    "wall_time": [500.0, nan, 800.0],
    "epochs": [2.5, nan, 4.0],
    "trainings": [2.0, 0.0, 1.0],
    "num_params": [1_007.0, 1_001_001.0, 1_001_002.0],
    "recepie_id": [7.0, 1_000_001.0, 1_000_002.0],
}


def assert_is_expected(table):
    assert (table.name, table.space.name, table.default) == ("nasbench-nlp", "nasbench-nlp", "valid_score")
    assert table.archs == SPACE.parse([RENAMED, LSTM, GRU])
    assert table.columns.keys() == EXPECTED.keys()
    for name, numbers in EXPECTED.items():
        assert table[name].dtype == np.float64
        np.testing.assert_array_equal(table[name], numbers, err_msg=name)


def test_a_network_has_the_mean_of_its_trainings_that_ended_well(tmp_path):
    calls = []
    assert_is_expected(nasbench_nlp.read(write_archive(tmp_path / "logs.zip", LOGS)))
    assert_is_expected(nasbench_nlp.read(write_archive(tmp_path / "flat.zip", LOGS[::-1], folder="")))
    folder = write_folder(tmp_path / "train_logs_single_run", LOGS)
    (folder / "README.md").write_text("not a log")
    assert_is_expected(nasbench_nlp.read(folder, progress=lambda *call: calls.append(call)))
    assert calls == [("reading", done, 5) for done in range(6)]


def test_the_published_cells_are_read_row_for_row(tmp_path):
    """The shared table's losses in logs, each put where its name says; 345 trainings of 265 networks."""
    rows = shared_data.rows("nasbench_nlp")
    logs, networks = [], defaultdict(list)
    keys = SPACE.keys(SPACE.parse([row["recepie_json"] for row in rows])).tolist()
    for number, (row, key) in enumerate(zip(rows, keys, strict=True)):
        if row["status"] == "OK":
            best, last, test = (float(row[name]) for name in ("best_valid_loss", "last_valid_loss", "last_test_loss"))
            valid, tests = [best + 1, best, last], [0.0, 9.0, test]
            networks[key].append((best, last, test))
        else:
            valid, tests = [nan], [nan]
            networks[key] += []
        name, content = log(row["recepie_json"], int(row["recepie_id"]), valid, row["status"], experiment_id=number)
        content |= {"num_params": int(row["num_params"]), "data": "data/wikitext-2", "test_losses": tests}
        logs.append((name, content))
    table = nasbench_nlp.read(write_archive(tmp_path / "logs.zip", logs, "train_logs_wikitext-2/"))

    assert len(table) == len(networks) == 265
    assert (table["num_params"] == SPACE.parameters(table.archs) + 23_278 * 401).all()
    assert table["trainings"].sum() == 341
    for row, key in enumerate(SPACE.keys(table.archs).tolist()):
        losses = networks[key]
        assert table["trainings"][row] == len(losses)
        best, last, test = np.mean(losses, axis=0) if losses else (nan, nan, nan)
        np.testing.assert_allclose(table["best_valid_loss"][row], best, rtol=1e-14)
        np.testing.assert_allclose(table["last_valid_loss"][row], last, rtol=1e-14)
        np.testing.assert_allclose(table["last_test_loss"][row], test, rtol=1e-14)
        np.testing.assert_array_equal(table["valid_score"][row], -table["best_valid_loss"][row])
    alone = [key for key, losses in networks.items() if len(losses) == 1]
    assert len(alone) > 200
    chosen = np.isin(SPACE.keys(table.archs), np.array(alone, dtype=np.uint64))
    assert set(table["best_valid_loss"][chosen]) == {networks[key][0][0] for key in alone}


# Wrong files


def test_a_damaged_archive_is_refused(tmp_path):
    path = write_archive(tmp_path / "logs.zip", LOGS)
    content = bytearray(path.read_bytes())
    for place in range(150, 200):
        content[place] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"logs\.zip.* is truncated or (damaged|no archive)"):
        nasbench_nlp.read(path)


def test_a_folder_and_an_archive_without_logs_are_refused(tmp_path):
    for path in (tmp_path, write_archive(tmp_path / "logs.zip", [])):
        with pytest.raises(ValueError, match="is not the NAS-Bench-NLP table: it has no file that ends in"):
            nasbench_nlp.read(path)


NEEDED = (
    *("data", "recepie_id", "recepie", "experiment_id", "init_time", "num_params", "status"),
    *("wall_times", "train_losses", "val_losses", "test_losses"),
)


def without(name: str) -> dict:
    return {key: value for key, value in log(GRU, 8)[1].items() if key != name}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        *((json.dumps(without(name)), f"is damaged: it lacks '{name}'") for name in NEEDED),
        (json.dumps(log(GRU, 8)[1])[:-1], "is damaged: "),
        ("", "is damaged: "),
        (b"\xff\xfe\x00", "is damaged: "),
        ("[" * 100_000, "is damaged: "),
        ("[]", "is damaged: "),
        ("null", "is damaged: "),
        (json.dumps(log("{}", 8)[1]), "is damaged: no node is h_new_0"),
        (json.dumps(log(GRU.replace("rh", "x"), 8)[1]), "is damaged: node 'x' has the name of an input"),
        (json.dumps(log(GRU, 8, recepie=json.loads(GRU))[1]), "is damaged: .*its recipe is no string"),
        (json.dumps(log(GRU, 8, test_losses=[1.0])[1]), "is damaged: its losses are of different numbers of epochs"),
        (json.dumps(log(GRU, 8, val_losses=["a", "b", "c"])[1]), "is damaged: could not convert string to float"),
        (json.dumps(log(GRU, 8, val_losses=[[1.0], [2.0], [3.0, 4.0]])[1]), "is damaged: "),
        (json.dumps(log(GRU, 8, val_losses=[[1.0, 2.0]] * 3)[1]), "is damaged: "),
        (json.dumps(log(GRU, 8, val_losses=2.0)[1]), "is damaged: "),
        (json.dumps(log(GRU, 8, num_params=None)[1]), "is damaged: "),
        (json.dumps(log(GRU, 8, num_params=10**400)[1]), "is damaged: "),
        (json.dumps({**log(GRU, 8)[1], "recepie_id": float("inf")}), "is damaged: "),
        (json.dumps({**log(GRU, 8)[1], "recepie_id": 10**400}), "is damaged: "),
        (json.dumps(log(GRU, 8, data=3)[1]), "is damaged: "),
    ],
)
def test_a_wrong_log_is_named(tmp_path, content, reason):
    folder = write_folder(tmp_path / "logs", [log(RNN, 5)])
    (folder / "log_8.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match="is not the NAS-Bench-NLP table: log_8.json " + reason) as caught:
        nasbench_nlp.read(folder)
    assert "\n" not in str(caught.value)


def test_a_training_that_is_given_twice_is_named(tmp_path):
    first, content = log(RNN, 5)
    folder = write_folder(tmp_path / "logs", [(first, content), ("other.json", content)])
    with pytest.raises(ValueError, match=rf"other\.json is a training of recipe 5 that is given twice, see {first}"):
        nasbench_nlp.read(folder)


def test_trainings_on_two_data_sets_are_refused(tmp_path):
    folder = write_folder(tmp_path / "logs", [log(RNN, 5), log(GRU, 6, data="data/wikitext-2/")])
    with pytest.raises(ValueError, match=r"log_.*_6_.* is a training on 'wikitext-2', the others are on 'ptb'$"):
        nasbench_nlp.read(folder)
