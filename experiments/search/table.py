"""Print the committed results as a table: median regret over seeds, and its quartiles where there are several seeds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

AT = (25, 50, 100, 150)

lines = [json.loads(line) for line in Path(__file__).with_name("results.jsonl").read_text().splitlines()]
print("| table | strategy | seeds | " + " | ".join(f"after {at}" for at in AT) + " | trainings to within 0.2 |")
print("| --- " * (len(AT) + 4) + "|")
for table, strategy in dict.fromkeys((line["table"], line["strategy"]) for line in lines):
    its = [line for line in lines if (line["table"], line["strategy"]) == (table, strategy)]
    cells = []
    for at in AT:
        low, middle, high = np.quantile([line[f"regret@{at}"] for line in its], (0.25, 0.5, 0.75))
        cells.append(f"{middle:.2f} ({low:.2f}–{high:.2f})" if len(its) > 1 else f"{middle:.2f}")
    reached = sorted(float("inf") if line["to_0.2"] is None else line["to_0.2"] for line in its)
    middle = reached[(len(reached) - 1) // 2]
    cells.append("never" if np.isinf(middle) else f"{middle:.0f}")
    print(f"| {table} | {strategy} | {len(its)} | " + " | ".join(cells) + " |")
