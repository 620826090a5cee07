"""Writes ``first-hour.md``: what a newcomer types in the first hour, what is printed, and the processor time it takes.

``python docs/first_hour.py`` runs every step in an empty folder: it installs archflow from this repository into a new
environment, and goes on there. ``python docs/first_hour.py FOLDER`` takes an environment where archflow is installed.
"""

import os
import re
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
FILE = Path(__file__).with_name("first-hour.md")
INSTALL = (
    "python3 -m venv archflow-env && archflow-env/bin/pip install --quiet --constraint constraints.txt '.[benchmarks]'"
)
OWN = """\
import numpy as np
import archflow
from archflow.benchmarks.own_tables import write_table

table = archflow.table("nasbench201/analog")
rows = np.random.default_rng(0).choice(len(table.archs), 60, replace=False)
columns = {"arch": table.space.format(table.archs[rows]), "accuracy": table["baseline_accuracy"][rows]}
write_table("trained.csv", columns)
"""
"""Makes the CSV that a newcomer would have from training runs."""


class Step(NamedTuple):
    """Something to type, and the words before it. The first word of a command is ``archflow`` or ``python3``."""

    title: str
    words: str
    command: str


STEPS = (
    Step(
        "The demonstration",
        "It ranks a benchmark and needs nothing of yours. This is a short form of it; plain `archflow demo` pre-trains "
        "for longer and repeats more.",
        "archflow demo --pretrain-epochs 1 --splits 2 --starts 1",
    ),
    Step(
        "Data of your own",
        "Suppose that you have trained 60 cells of NAS-Bench-201 and written their accuracies to a CSV file. Here a "
        "script takes them from a published table instead:",
        "python3 own_data.py",
    ),
    Step(
        "Fit a ranker",
        "The default head needs no encoder and no GPU.",
        "archflow finetune --space nasbench201 --input trained.csv --label-column accuracy --out ranker.archflow",
    ),
    Step(
        "What to train next",
        "The ten most promising cells that you have not trained, the best first, each with its predicted accuracy.",
        "archflow suggest ranker.archflow --out next.csv",
    ),
    Step("The whole ranking", "All 15,625 cells.", "archflow rank ranker.archflow --out ranking.csv"),
    Step(
        "A report",
        "One HTML page that opens without the internet. With a published table it also says how good the ranking is.",
        "archflow report ranker.archflow --table nasbench201/analog --out report.html",
    ),
)


def written(installed, outcomes):
    """The page: for each step its words, command, output and seconds."""
    total = (installed or 0) + sum(seconds for _, seconds in outcomes)
    every, timed = (
        ("every command below", f" ({installed:.0f} s)")
        if installed
        else ("every command below but the installation", "")
    )
    page = [
        "# The first hour",
        f"Made by `docs/first_hour.py`, which ran {every} and copied what it printed. "
        f"Seconds in brackets are processor time without a GPU, {total:.0f} s in all; those that the demonstration "
        "prints are by the clock, on a machine that was busy with other work.",
        f"## Install\n\nIn a copy of the repository{timed}; most of what is fetched is PyTorch:",
        block(INSTALL),
        "Then put the environment first with `source archflow-env/bin/activate`.",
    ]
    for step, (printed, seconds) in zip(STEPS, outcomes, strict=True):
        page += [f"## {step.title}\n\n{step.words} ({seconds:.0f} s)"]
        if step.command.endswith("own_data.py"):
            page += [f"```python\n# own_data.py\n{OWN}```"]
        page += [block(f"$ {step.command}\n{printed}")]
    page += ["## Where to go from here\n\n[Rank my space](rank.md) shows the same with graphs of your own."]
    return "\n\n".join(page) + "\n"


def used():
    """Processor seconds of the commands that have ended; other work does not change them, as it does the clock."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def block(text):
    """Text as it stands, indented as Markdown wants it."""
    return "\n".join(f"    {line}".rstrip() for line in text.strip().splitlines())


def main():
    """Run all steps, and write the page."""
    with tempfile.TemporaryDirectory() as folder:
        environment, installed = Path(*sys.argv[1:2] or (folder, "archflow-env")).absolute(), None
        if not sys.argv[1:]:
            subprocess.run([sys.executable, "-m", "venv", environment], check=True)
            pip = [environment / "bin/pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt"]
            subprocess.run([*pip, f"{ROOT}[benchmarks]"], check=True, cwd=folder)
            installed = used()
        Path(folder, "own_data.py").write_text(OWN)
        variables = {
            **os.environ,
            "PATH": f"{environment}/bin:{os.environ['PATH']}",
            "ARCHFLOW_CACHE": f"{folder}/cache",
        }
        variables.pop("PYTHONPATH", None)
        outcomes = []
        for step in STEPS:
            begun = used()
            settings = {"cwd": folder, "env": variables, "stdout": subprocess.PIPE, "text": True, "check": True}
            done = subprocess.run(step.command, shell=True, **settings)
            outcomes.append((re.sub(r"\n{3,}", "\n\n", done.stdout), used() - begun))
            print(f"{step.title}: {outcomes[-1][1]:.0f} s", flush=True)
        FILE.write_text(written(installed, outcomes), encoding="utf-8")


if __name__ == "__main__":
    main()
