"""Read many damaged and generated pickles, and check their effect on the process.

    python tests/fuzz_unpickle.py --cases 100000

A case is wrong if reading raises anything but a ValueError of one line, runs code, imports a module, opens a file, or
leaves more than 200 MB of memory in use. A crash ends the process with its signal.
"""

import argparse
import io
import pickle
import pickletools
import random
import resource
import sys
import time
from collections import OrderedDict

import numpy as np

from archflow.support.unpickle import restricted_load

HARMFUL = ("exec", "compile", "import", "open", "os.", "subprocess.", "ctypes.", "socket.", "marshal.", "shutil.")
MEMORY = 200e6
OPCODES = [opcode.code.encode("latin1") for opcode in pickletools.opcodes]
NAMES = (b"numpy\ndtype\n", b"numpy\nndarray\n", b"numpy.core.multiarray\n_reconstruct\n", b"os\nsystem\n")
NAMES += (b"numpy.core.multiarray\nscalar\n", b"collections\nOrderedDict\n", b"_codecs\nencode\n", b"builtins\neval\n")
SEEDS = [
    pickle.dumps(value, protocol)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    for value in (
        {"cora": {"valid_perf": np.float64(0.8), "dur": [[0.1] * 7] * 3}},
        {("cifar10", 777): OrderedDict(a=1, b=(2.5, None, True)), "arch": "|none~0|"},
        [np.arange(6, dtype="f4").reshape(2, 3), np.array(["a", "bc"]), np.int64(3), b"bytes"],
        {1: (2**70, -1, "text"), b"key": {"x": [[], {}, ()]}},
    )
]


def mutated(rng: random.Random) -> bytes:
    content = bytearray(rng.choice(SEEDS))
    for _ in range(rng.randint(1, 6)):
        place = rng.randrange(len(content) or 1)
        match rng.randrange(5):
            case 0:
                content[place : place + 1] = bytes([rng.randrange(256)])
            case 1:
                content[place:place] = rng.choice(OPCODES)
            case 2:
                del content[place : place + rng.randint(1, 8)]
            case 3:
                other = rng.choice(SEEDS)
                content[place:place] = other[rng.randrange(len(other)) :][: rng.randint(1, 40)]
            case 4:
                content[place : place + 4] = rng.choice([b"\xff\xff\xff\x7f", b"\xff" * 4, bytes(4)])
    return bytes(content)


def argument(rng: random.Random, opcode: bytes) -> bytes:
    if opcode in b"ci":
        return rng.choice(NAMES)
    if opcode in b"hqKUC\x8c\x82":
        length = rng.randrange(6)
        return bytes([length]) + (rng.randbytes(length) if opcode in b"UC\x8c" else b"")
    if opcode in b"IFLSVgpP":
        return rng.choice([b"1\n", b"-7\n", b"'text'\n", b"0\n", b"99999999999\n"])
    if opcode in b"JrjTXB":
        return rng.choice([b"\x03\x00\x00\x00abc", b"\xff\xff\xff\x7f", b"\x00\x00\x00\x00"])
    return rng.randbytes(rng.choice([0, 0, 0, 1, 8]))


def invented(rng: random.Random) -> bytes:
    parts = [b"\x80\x04"]
    for _ in range(rng.randint(1, 60)):
        opcode = rng.choice(OPCODES)
        parts += [opcode, argument(rng, opcode)]
    return b"".join(parts) + b"."


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    events: list[str] = []
    watched = False

    def watch(event: str, _: object) -> None:
        if watched and event.startswith(HARMFUL):
            events.append(event)

    sys.addaudithook(watch)
    # The first use of some types imports what they need.
    for seed in SEEDS:
        restricted_load("seed", io.BytesIO(seed))
    before, wrong, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0, time.monotonic()
    for number in range(asked.cases):
        rng = random.Random(f"{asked.seed} {number}")
        content = (mutated if number % 2 else invented)(rng)
        watched = True
        try:
            restricted_load("case", io.BytesIO(content), encoding=rng.choice(["ascii", "latin1"]))
        except ValueError as error:
            fault = "" if "\n" not in str(error) and len(str(error)) < 600 else f"a message of {len(str(error))}"
        except BaseException as error:
            fault = f"{type(error).__name__}: {error}"
        else:
            fault = ""
        watched = False
        fault = fault or ", ".join(events)
        events.clear()
        if fault:
            wrong += 1
            print(f"case {number}: {fault}\n  {content!r}", file=sys.stderr)
    used = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    wrong += used > MEMORY
    seconds = time.monotonic() - started
    print(f"{asked.cases} cases, {wrong} wrong, {used / 1e6:.0f} MB more at the most, {seconds:.0f} s")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
