"""A working command for each verb in a folder of small files, see ``conftest``."""

import shlex
import subprocess
import sys

from archflow.benchmarks.nasbench201.space import NASBench201
from tests.conftest import Outcome

SPACE = NASBench201()
CELLS = 60
PREVIOUS = b"the previous content"
QUICK = "--hidden 8 --layers 2 --pretrain-epochs 2 --device cpu"
ONE_RUN = "--seeds 1 --splits 1 --finetune-epochs 2"

WORKING = {
    "demo": "demo --pretrain-epochs 1 --splits 1 --starts 1 --out below",
    "spaces": "spaces nasbench201 --sample 5 --out out.csv",
    "tables": "tables",
    "tables add": "tables add cells.csv --space nasbench201",
    "tables remove": "tables remove tiny",
    "tables write": "tables write tiny --out out.csv",
    "proxies": "proxies --space darts --input two.jsonl --proxy params,nwot --width 4 --depth 1 --size 8 "
    "--batch-size 8 --processes 1 --device cpu --overwrite --out out.csv",
    "pretrain": f"pretrain --input cells.csv {QUICK} --overwrite --out out.archflow",
    "finetune": "finetune --input some.jsonl --head finetune --finetune-epochs 2 --device cpu --overwrite "
    "--out out.archflow",
    "rank": "rank ranker.archflow --input cells.csv --out out.csv",
    "suggest": "suggest ranker.archflow --input cells.csv --out out.csv",
    "search": "search --objective table:tiny --strategy random --budget 4 --device cpu --out out.csv",
    "report": "report ranker.archflow --input cells.csv --label-column accuracy --out out.html",
    "evaluate": f"evaluate --input cells.csv --label-column accuracy {QUICK} {ONE_RUN} --pool 12 --labels 0.5 "
    "--out studies",
    "reproduce": f"reproduce table1 --only encoder=gin,space=nasbench201,pretext=none {ONE_RUN} "
    "--table nasbench201=tiny --device cpu --out studies",
}
"""A small command for every verb."""

WRITING = [verb for verb in WORKING if verb not in ("tables", "tables remove")]
COMPUTING = [verb for verb in WRITING if verb != "spaces" and not verb.startswith("tables")]


def words(verb, more=""):
    """The working command of a verb with more options; the last of two equal options wins."""
    return [*shlex.split(WORKING[verb]), *shlex.split(more)]


def contents(folder):
    """The contents of all files below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def begin(*args, **settings):
    """Start the command in its own process."""
    command = [sys.executable, "-m", "archflow", *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **settings)


def run(*args, **settings):
    """Run the command in its own process to completion."""
    with begin(*args, **settings) as process:
        out, err = process.communicate(timeout=300)
    return Outcome(process.returncode, out, err)
