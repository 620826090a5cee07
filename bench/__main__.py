"""Print the table, and write it to ``bench/results.json``."""

from __future__ import annotations

import json
import resource
from dataclasses import asdict
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from archflow.support.files import write_atomically
from archflow.support.versions import versions
from bench import encoder, flow, flowerformer, memory, neighbour, proxies, ranking, spaces


def main() -> None:
    listing = Table(title=f"archflow on {torch.get_num_threads()} threads (cells per second, medians)")
    for heading in ("what", "beside", "ours", "theirs", "ratio", "at least"):
        listing.add_column(heading, justify="left" if heading in ("what", "beside") else "right")
    rates = proxies.rates()
    rankings = ranking.wholes()
    of_rankings = [each.row for each in rankings]
    rows = [*flow.rows(), *neighbour.rows(), *encoder.rows(), *flowerformer.rows(), *proxies.rows(rates), *of_rankings]
    for row in rows:
        mark = "" if row.ratio >= row.least else "  short"
        listing.add_row(
            row.what,
            row.beside,
            *(f"{rate:,.0f}" if rate >= 10 else f"{rate:.2f}" for rate in (row.ours, row.theirs)),
            f"{row.ratio:,.1f} ×{mark}",
            f"{row.least:,g} ×",
        )
    size = memory.megabytes()
    listing.add_row("423,624 random 7-node DAGs", "", f"{size:.1f} MB", "", "", "≤ 60 MB")
    console = Console(width=130)
    console.print(listing)
    whole = Table(title="Whole spaces and official files")
    for heading in ("what", "seconds", "peak MB of the process"):
        whole.add_column(heading, justify="left" if heading == "what" else "right")
    at_full_size = [*spaces.measurements(), *proxies.peaks()]
    at_full_size += [{"what": r.what, "seconds": r.seconds, "peak_megabytes": r.peak_megabytes} for r in rankings]
    for each in at_full_size:
        whole.add_row(str(each["what"]), f"{each['seconds']:.1f}", f"{each['peak_megabytes']:,.0f}")
    console.print(whole)
    proxy = Table(title="Zero-cost proxies of NAS-Bench-201, full size, 64 images: networks per second, one thread")
    for heading in ("proxy", "networks/s"):
        proxy.add_column(heading, justify="left" if heading == "proxy" else "right")
    for name, rate in rates.items():
        proxy.add_row(name, f"{rate:,.2f}")
    console.print(proxy)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    result = {
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "rows": [{**asdict(row), "ratio": row.ratio} for row in rows],
        "whole": at_full_size,
        "proxies_networks_per_second": rates,
        "archbatch_megabytes": size,
        "peak_megabytes": peak,
    }
    write_atomically(Path(__file__).with_name("results.json"), json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
