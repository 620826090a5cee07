"""Kill commands at random moments with kill -9, resume them, and compare with the undisturbed result.

    python -m tests.support.kill_runs --kills 50

For each verb, one command runs undisturbed. Then the same command is started again and again and killed at a random
moment of that time, until the given number of kills; now and then it is allowed to finish, its result compared, and a
fresh folder begun. It is wrong if a resumed command fails, its result differs, or temporary files are left.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import archflow
from archflow.benchmarks.own_tables import write_table
from archflow.encoding.files import load_encoder
from archflow.support.files import load_tensors

QUICK = ["--hidden", "8", "--layers", "2", "--device", "cpu"]
RUNS = ["--seeds", "1", "--splits", "3", "--finetune-epochs", "2"]
COMMANDS = {
    "pretrain": (
        ["pretrain", "--input", "cells.csv", *QUICK, "--pretrain-epochs", "200", "--checkpoint-seconds", "0.05"],
        ["--out", "out/encoder", "--resume"],
        "out/encoder",
    ),
    "proxies": (
        ["proxies", "--input", "cells.csv", "--proxy", "params,nwot,synflow", "--size", "8", "--width", "4"],
        ["--depth", "1", "--batch-size", "4", "--processes", "1", "--device", "cpu", "--out", "out/p.csv", "--resume"],
        "out/p.csv",
    ),
    "evaluate": (
        ["evaluate", "--input", "cells.csv", "--label-column", "accuracy", *QUICK, *RUNS, "--pretrain-epochs", "2"],
        ["--pool", "12", "--labels", "0.5", "--out", "out"],
        "out/evaluate.md",
    ),
    "reproduce": (
        ["reproduce", "table1", "--only", "encoder=gin,space=nasbench201,pretext=none", *RUNS],
        ["--table", "nasbench201=cells", "--device", "cpu", "--out", "out"],
        "out/table1.md",
    ),
    "tables add": (
        ["tables", "add", "cells.csv", "--space", "nasbench201", "--name", "again"],
        [],
        "data/tables/again.archflow",
    ),
}


def command(verb: str, folder: Path) -> subprocess.Popen:
    begin, end, _ = COMMANDS[verb]
    environment = {**os.environ, "ARCHFLOW_DATA": str(folder / "data"), "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = str(Path(archflow.__file__).parents[1])
    return subprocess.Popen(
        [sys.executable, "-m", "archflow", *begin, *end],
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(verb: str, folder: Path) -> str:
    """Run to the end; the error, or ""."""
    with command(verb, folder) as process:
        _, err = process.communicate()
    return "" if process.returncode == 0 else err[-500:] or f"exit {process.returncode}"


def prepare(folder: Path) -> None:
    space = archflow.space("nasbench201")
    archs = space.sample(400)
    write_table(folder / "cells.csv", {"arch": space.format(archs), "accuracy": space.flops(archs) / 1e6})
    environment = {**os.environ, "ARCHFLOW_DATA": str(folder / "data")}
    adding = [sys.executable, "-m", "archflow", "tables", "add", "cells.csv", "--space", "nasbench201"]
    adding += ["--label-column", "accuracy"]
    subprocess.run(adding, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)


def content(verb: str, folder: Path) -> object:
    """The result without its times."""
    path = folder / COMMANDS[verb][2]
    if verb == "pretrain":
        model, about = load_encoder(path)
        return {name: value.tolist() for name, value in model.state_dict().items()}, about["losses"]
    if verb == "tables add":
        tensors, about = load_tensors(path, "table")
        return {name: value.tolist() for name, value in tensors.items()}, about
    if verb in ("evaluate", "reproduce"):
        lines = [json.loads(text) for text in (path.parent / "results.jsonl").read_text().splitlines()]
        return sorted([each["key"], each["tau"], each["p_at_5"]] for each in lines)
    return path.read_bytes()


def leftovers(folder: Path) -> list[str]:
    """What a finished command should not leave: temporary files, locks of outputs, unfinished work.

    A temporary file younger than ten seconds may still belong to a writer, and is swept later.
    """
    young = time.time() - 10
    found = [path for path in folder.rglob(".*") if path.suffix == ".lock" or path.stat().st_mtime < young]
    return [str(path.relative_to(folder)) for path in [*found, *folder.rglob("*.partial")]]


def kill(verb: str, kills: int, rng: random.Random) -> list[str]:
    """The faults after so many kills."""
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        plain = Path(name)
        prepare(plain)
        started = time.monotonic()
        if error := finish(verb, plain):
            return [f"undisturbed: {error}"]
        takes, expected = time.monotonic() - started, content(verb, plain)
    done = 0
    while done < kills:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            prepare(folder)
            for _ in range(min(kills - done, rng.randint(1, 4))):
                with command(verb, folder) as process:
                    time.sleep(rng.random() * takes)
                    process.kill()
                    process.communicate()
                done += 1
            # A kill after the result was written leaves nothing to resume.
            if (error := finish(verb, folder)) and "is there already" not in error:
                faults.append(f"after {done} kills: {error}")
            elif content(verb, folder) != expected:
                faults.append(f"after {done} kills: another result")
            elif left := leftovers(folder):
                faults.append(f"after {done} kills: left {', '.join(left)}")
    return faults


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=50, help="of each verb")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verb", choices=COMMANDS, action="append")
    asked = parser.parse_args()
    wrong = 0
    for verb in asked.verb or COMMANDS:
        faults = kill(verb, asked.kills, random.Random(f"{asked.seed} {verb}"))
        wrong += len(faults)
        print(f"{verb}: {asked.kills} kills, {len(faults)} wrong", flush=True)
        for fault in faults:
            print(f"  {fault}", file=sys.stderr)
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
