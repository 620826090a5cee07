"""Zero-cost proxies of NAS-Bench-201's networks: networks per second of each, and the gain from sharing passes."""

from __future__ import annotations

import json
import resource
import subprocess
import sys

import torch

import archflow
from archflow.benchmarks.networks import network
from archflow.zero_cost.bulk import PROXIES
from archflow.zero_cost.images import minibatch
from archflow.zero_cost.measures import measure
from bench.measure import Row, timed

SAMPLE = 12
"""Number of cells, measured at full size on 64 images with one thread."""


def rates() -> dict[str, float]:
    """Networks per second of each proxy alone, of all together, and of all one after another."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    space = archflow.space("nasbench201")
    archs = space.sample(SAMPLE)
    models = [network("nasbench201", archs[[index]]) for index in range(SAMPLE)]
    images, labels = minibatch("natural", 64, 32, 10, 0)

    def run(names: tuple[str, ...]) -> float:
        return timed(lambda: [measure(model, images, labels, names) for model in models])

    run(("nwot",))  # the very first call takes longer
    alone = {name: run((name,)) for name in PROXIES}
    seconds = {**alone, "all together": run(PROXIES), "one after another": sum(alone.values())}
    torch.set_num_threads(threads)
    return {name: SAMPLE / taken for name, taken in seconds.items()}


def rows(rate: dict[str, float]) -> list[Row]:
    """All proxies with shared passes, beside separate passes for each proxy."""
    return [
        Row("13 proxies of a network", "a pass for each", rate["all together"], rate["one after another"], 1.5),
    ]


def peaks() -> list[dict[str, float | str]]:
    """Seconds and peak megabytes for measuring few and many small networks, each in its own process."""
    found: list[dict[str, float | str]] = []
    for count in (200, 2000):
        command = [sys.executable, "-m", "bench.proxies", str(count)]
        printed = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        found.append({"what": f"nwot and snip of {count:,} small networks", **printed})
    return found


def small(count: int) -> dict[str, float]:
    some = archflow.space("nasbench201").sample(count)
    seconds = timed(
        lambda: archflow.proxies(
            "nasbench201", some, ["nwot", "snip"], width=4, depth=1, size=8, batch_size=8, processes=1
        )
    )
    return {"seconds": seconds, "peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3}


if __name__ == "__main__":
    print(json.dumps(small(int(sys.argv[1]))))
