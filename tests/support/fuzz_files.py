"""Read many damaged files of every kind that archflow reads, apart from pickles, which ``fuzz_unpickle.py`` mutates.

    python -m tests.support.fuzz_files --cases 20000

Every case mutates a small real file. It is wrong if its reader raises anything but a ValueError or OSError of one line,
or if reading all of them leaves more than 500 MB of memory in use. A crash ends the process with its signal.
"""

import argparse
import collections
import os
import random
import resource
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

import numpy as np

import archflow
from archflow.archs.batch import ArchBatch
from archflow.benchmarks.own_tables import read_table, write_table
from archflow.encoding.files import load_encoder, save_encoder
from archflow.pretraining.state import State
from archflow.studies.lines import FILE, append, read
from tests.studies import line

MEMORY = 500e6
PARTS = [b"\xff" * 4, bytes(8), b"null", b"-1", b"1e999", b"[" * 2000, b'"', b"{}", b"\n", b",", b"9" * 400, b"NaN"]


def mutated(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        # The header of a file says most, so that half of the changes are there.
        place = rng.randrange(min(len(changed), rng.choice([400, 1 << 30])) or 1)
        match rng.randrange(5):
            case 0:
                changed[place : place + 1] = bytes([rng.randrange(256)])
            case 1:
                changed[place:place] = rng.choice(PARTS)
            case 2:
                del changed[place : place + rng.choice([1, 1, 4, 100])]
            case 3:
                start = rng.randrange(len(content))
                changed[place:place] = content[start : start + rng.randint(1, 60)]
            case 4:
                changed[place : place + 1] = bytes([changed[place] ^ 1 << rng.randrange(8)] if changed else b"")
    return bytes(changed)


def checkpoint():
    import torch

    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    state = State(model, optimizer, {"task": "fgp"}, 2)
    state.count({"loss": torch.ones(())}, 0.5)
    return state


def seeds(folder: Path):
    """For each kind of file, the content of a real one, its reader, and the name it is given."""
    space = archflow.space("nasbench201")
    archs = space.sample(20)
    columns = {"arch": space.format(archs), "accuracy": np.arange(20.0), "note": ["a, b"] * 20}
    found = {}
    for ending in ("csv", "jsonl", "parquet"):
        write_table(folder / f"seed.{ending}", columns)
        found[ending] = (folder / f"seed.{ending}", lambda path: read_table(path, space))
    archs.save(folder / "archs")
    found["ArchBatch"] = folder / "archs", ArchBatch.load
    encoder = archflow.encoder("resgatedgcn", archs.vocabulary, hidden=4, layers=1)
    save_encoder(encoder, folder / "encoder", space="nasbench201")
    found["encoder"] = folder / "encoder", load_encoder
    for head, settings in (("finetune", {"epochs": 1}), ("gp", {"trees": 2})):
        ranker = archflow.Ranker(encoder, head, space="nasbench201", **settings).fit(archs, np.arange(20.0))
        ranker.save(folder / head)
        found[f"ranker, {head}"] = folder / head, archflow.Ranker.load
    checkpoint().save(folder / "checkpoint")
    found["checkpoint"] = folder / "checkpoint", lambda path: checkpoint().load(path)
    for number in range(3):
        append(folder, line(number))
    found["results"] = folder / FILE, lambda path: read(path.parent)
    for name in archflow.spaces():
        known = archflow.space(name)
        (folder / name).write_text("\n".join(known.format(known.sample(3))))

        def parse(path, known=known):
            return known.parse(path.read_bytes().decode("utf-8", "replace").split("\n"))

        found[f"strings, {name}"] = folder / name, parse
    return {kind: (path.read_bytes(), reader, path.name) for kind, (path, reader) in found.items()}


def fault_of(error: BaseException) -> str:
    if not isinstance(error, ValueError | OSError):
        where = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {str(error)[:200]} ({where.filename}:{where.lineno})"
    text = str(error)
    return f"a message of {len(text)} characters" if len(text) > 1500 else ""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=20_000, help="of all kinds together")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    os.environ["POLARS_VERBOSE"] = "0"
    started, wrong = time.monotonic(), collections.Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kinds = seeds(folder)
        for _, reader, file in kinds.values():
            reader(folder / file)  # what is not damaged is read
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        each = max(1, asked.cases // len(kinds))
        for kind, (content, reader, file) in kinds.items():
            seen = set()
            for number in range(each):
                (folder / file).write_bytes(mutated(content, random.Random(f"{asked.seed} {kind} {number}")))
                fault = ""
                try:
                    reader(folder / file)
                except BaseException as error:
                    fault = fault_of(error)
                if fault:
                    wrong[kind] += 1
                    if fault not in seen:
                        seen.add(fault)
                        print(f"{kind}, case {number}: {fault}", file=sys.stderr)
            print(f"{kind}: {each} cases, {wrong[kind]} wrong", flush=True)
    used = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    bad = wrong.total() + (used > MEMORY)
    seconds = time.monotonic() - started
    print(f"{each * len(kinds)} cases, {bad} wrong, {used / 1e6:.0f} MB more at the most, {seconds:.0f} s")
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
