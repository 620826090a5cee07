"""How well a method ranks: the protocol of the FGP paper, the same for every method.

Three seeds times three permutations of the table. Of each permutation the first so many architectures are the training
pool, of which the first 1, 5 or 10 % are labelled; the next 40 are for validation, and decide which epoch is kept; the
rest is for testing, and decides nothing.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.registry import Space
from archflow.benchmarks.table import Table, tables
from archflow.benchmarks.table import table as make_table
from archflow.encoding.base import Encoder
from archflow.encoding.registry import encoder as make_encoder
from archflow.encoding.registry import load_encoder, save_encoder
from archflow.pretraining.loop import Pretraining, fingerprint, pretrain
from archflow.pretraining.registry import make_task, tasks
from archflow.ranking.metrics import kendall_tau, precision_at
from archflow.ranking.ranker import Ranker, check_labels
from archflow.support.devices import seeded
from archflow.support.files import require_writable, write_atomically
from archflow.support.progress import Progress, silent

METHODS = ("none", "fgp")
"""What ``evaluate`` compares by default: no pre-training, and FGP. It knows the other tasks, too."""

VALIDATION = 40
_POOLS = {"nasbench101": 7290, "nasbench201": 7813, "darts": 5611}


class Split(NamedTuple):
    """Which architectures of a table are for what."""

    labelled: Int[ndarray, " labelled"]
    validation: Int[ndarray, " 40"]
    test: Int[ndarray, " test"]


def split(count: int, pool: int, labels: float, permutation: int) -> Split:
    """The split of ``count`` architectures that belongs to a permutation's number.

    Args:
        count: architectures in the table.
        pool: how many of them are the training pool.
        labels: how many of the pool are labelled: a share, if at most 1 (rounded down), else a number.
        permutation: 0, 1, 2, …

    Raises:
        ValueError: fewer than two would be labelled, or fewer than two left for testing.
    """
    order = permuted(count, permutation)
    share = 0 < labels <= 1
    labelled = int(pool * labels + 1e-9) if share else int(labels) if float(labels).is_integer() else 0
    if not 2 <= labelled <= pool or pool + VALIDATION + 2 > count:
        raise ValueError(
            f"{labels:g}{' labels out' * (not share)} of a pool of {pool:,} out of {count:,} does not leave two labels "
            f"or more, {VALIDATION} for validation, and some for testing"
        )
    return Split(order[:labelled], order[pool : pool + VALIDATION], order[pool + VALIDATION :])


def permuted(count: int, number: int) -> Int[ndarray, " count"]:
    """The permutation of that number of ``count`` architectures."""
    return np.random.default_rng(number).permutation(count)


def default_pool(space: str, count: int) -> int:
    """The published size of the training pool for a space, else half of the ``count`` architectures that are known."""
    return min(_POOLS.get(space, count // 2), count // 2 + 1)


def figures(accuracy: Float[ndarray, " archs"], score: Float[ndarray, " archs"]) -> dict[str, float]:
    """Kendall's τ, Precision@1% and Precision@5%, as every table of archflow names them."""
    return {
        "tau": kendall_tau(accuracy, score),
        "p_at_1": precision_at(accuracy, score, 1),
        "p_at_5": precision_at(accuracy, score, 5),
    }


def proxy_column(table: Table, names: str) -> Float[ndarray, "archs proxies"] | None:
    """Zero-cost proxies by their names, joined by commas.

    A name is a column of the table, or "parameters", "flops" or another proxy that the space knows in closed form, or
    "closed-form" for all of those. "measured/NAME" is a column of the table "SPACE/proxies", which ``archflow proxies``
    makes, NaN for architectures that it lacks; "measured" is all of its columns. "none" is none.

    Raises:
        ValueError: a name is unknown; the message lists the known ones.
    """
    space = table.space
    its_own = (name for name in names.split(",") if name not in table.columns)
    measured = _measured(table) if any(name.partition("/")[0] == "measured" for name in its_own) else {}
    groups = {"closed-form": space.proxies, "measured": tuple(measured)}
    columns = []
    for name in (each for part in names.split(",") for each in groups.get(part, (part,))):
        if name in table.columns:
            columns.append(table[name])
        elif name in measured:
            columns.append(measured[name])
        elif name in space.proxies:
            columns.append(space.proxy(name, table.archs))
        elif name in ("parameters", "flops"):
            columns.append(np.asarray(getattr(space, name)(table.archs), dtype=float))
        elif name != "none":
            known = dict.fromkeys(["closed-form", *space.proxies, "parameters", "flops", "none", *table.columns])
            raise ValueError(f"unknown proxy '{name}'; known: {', '.join([*known, 'measured', *measured])}")
    return np.stack(columns, axis=1) if columns else None


def _measured(table: Table) -> dict[str, Float[ndarray, " archs"]]:
    """The measured proxies of a table's architectures, under the names "measured/…"."""
    name = f"{table.space.name}/proxies"
    if name not in tables(table.space.name):
        raise ValueError(
            f"there are no measured proxies of {table.space.name}: make them with archflow proxies, and keep them with "
            f"archflow tables add FILE --space {table.space.name} --out {name}"
        )
    found = make_table(name)
    rows = {key: row for row, key in enumerate(found.space.keys(found.archs).tolist())}
    place = np.array([rows.get(key, -1) for key in table.space.keys(table.archs).tolist()])
    return {
        f"measured/{column}": np.where(place >= 0, values[place], np.nan) for column, values in found.columns.items()
    }


def evaluate(
    table: Table,
    columns: Sequence[str] = (),
    *,
    labels: Sequence[float] = (0.01,),
    methods: Sequence[str] = METHODS,
    seeds: int = 3,
    permutations: int = 3,
    first_seed: int = 0,
    pool: int | None = None,
    encoder: str = "resgatedgcn",
    encoder_settings: dict[str, Any] | None = None,
    proxy: str = "closed-form",
    task_settings: dict[str, dict[str, Any]] | None = None,
    pretrain_settings: dict[str, Any] | None = None,
    ranker_settings: dict[str, Any] | None = None,
    device: str = "auto",
    out: str | Path = "evaluate.json",
    resume: bool = False,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Compare methods on a table, and write every run to one JSON file.

    For each seed the encoder is made and, unless the method is "none", pre-trained on all architectures of the table;
    for each permutation it is then fine-tuned and tested. Results are written after every run; pre-trained encoders are
    kept beside them. Architectures without a number in a column are pre-trained on like all others, but are neither in
    its pool nor tested: a table may hold more architectures than were ever trained.

    Args:
        table: architectures with accuracies.
        columns: columns of accuracies, each evaluated by itself, from the same pre-trained encoders; the table's
            default if empty.
        labels: how many of the pool are labelled, each a share if at most 1, else a number.
        methods: "none" or names of pre-training tasks, see :func:`archflow.tasks`.
        seeds: how many seeds; a seed fixes the first weights, the flow draw and all orders.
        permutations: how many permutations, from 0.
        first_seed: the seeds are counted from here.
        pool: size of the training pool; :func:`default_pool` if None.
        encoder: the encoder's name.
        encoder_settings: its keyword arguments.
        proxy: see :func:`proxy_column`.
        task_settings: for a task's name its keyword arguments; for FGP "k", "std", "draws" and "draw_seed" of the
            draw, too.
        pretrain_settings: keyword arguments of :func:`archflow.pretrain`.
        ranker_settings: keyword arguments of :class:`archflow.Ranker`.
        device: "cpu", "cuda", …, or "auto".
        out: the JSON file.
        resume: keep the runs that ``out`` already holds, if they were made with the same settings and data.
        progress: told how much is done of each phase, and of the runs.

    Returns:
        What the file holds: "settings"; "versions", those of the last sitting; "summary", see :func:`summarise`; and
        "runs", a dict a run with its figures, versions and, if it was pre-trained, all settings and losses of that.

    Raises:
        ValueError: an unknown method, encoder, proxy or column, infinite accuracies, or a table that is too small.
    """
    columns = list(dict.fromkeys(columns)) or [table.default]
    if not all(columns):
        raise ValueError(
            f"--column must name the accuracies of {table.name}; it has: {', '.join(table.columns) or 'none'}"
        )
    known = {column: np.flatnonzero(~np.isnan(table[column])) for column in columns}
    for column, rows in known.items():
        if not len(rows):
            raise ValueError(f"the column '{column}' of {table.name} holds no number")
        check_labels(table.archs[rows], table[column][rows], f"labels in '{column}'")
    methods = list(dict.fromkeys(methods))
    known_methods = ["none", *tasks()]
    unknown = set(methods) - set(known_methods)
    if unknown or not methods:
        raise ValueError(f"unknown method '{', '.join(sorted(unknown))}'; known methods: {', '.join(known_methods)}")
    task_settings = task_settings or {}
    if not task_settings.keys() <= set(methods):
        raise ValueError(
            f"there are settings for {', '.join(sorted(task_settings.keys() - set(methods)))}, which is not compared"
        )
    if seeds < 1 or permutations < 1:
        raise ValueError("seeds and permutations must be at least 1")
    pools = {
        column: default_pool(table.space.name, len(rows)) if pool is None else pool for column, rows in known.items()
    }
    splits = {
        (column, share, number): Split(*(rows[part] for part in split(len(rows), pools[column], share, number)))
        for column, rows in known.items()
        for share in labels
        for number in range(permutations)
    }

    def new(seed: int) -> Encoder:
        return new_encoder(encoder, table.archs.vocabulary, seed, encoder_settings or {})

    # With the defaults, which may differ in another version. Those of pre-training are in each run.
    model = new(first_seed)
    fine_tuning = Ranker(model, **(ranker_settings or {})).settings
    proxy_values = proxy_column(table, proxy) if methods != ["none"] else None
    settings = {
        **{"table": table.name, "space": table.space.name, "columns": columns, "pools": pools, "proxy": proxy},
        "data": fingerprint(table.archs, [*table.columns.values(), *([] if proxy_values is None else proxy_values.T)]),
        **{"encoder": encoder, "encoder_settings": model.settings, "task_settings": task_settings},
        "pretrain_settings": pretrain_settings or {},
        "ranker_settings": {name: value for name, value in fine_tuning.items() if name != "seed"},
    }
    out = Path(out)
    require_writable(out)
    kept = out.with_name(f"{out.stem}-encoders")
    runs = _previous_runs(out, settings) if resume else []

    def prepare(method: str, seed: int) -> tuple[Encoder, dict[str, Any]]:
        model = new(seed)
        if method == "none":
            return model, {"pretrain_seconds": 0.0}
        file = kept / f"{method}-seed{seed}.archflow"
        if resume and file.exists():
            kept_model, provenance = load_encoder(file)
            if provenance.get("evaluate") == json.loads(json.dumps(settings)):
                return kept_model, provenance["run"]
        outcome = pretrain_task(
            method,
            model,
            table.space,
            table.archs,
            proxy_values,
            seed,
            task_settings.get(method, {}),
            device=device,
            progress=progress,
            **(pretrain_settings or {}),
        )
        run = {"pretrain_seconds": outcome.seconds, "pretraining": outcome.settings, "pretrain_losses": outcome.losses}
        save_encoder(model, file, evaluate=settings, run=run)
        return model, run

    result = {"settings": settings, "versions": versions(), "summary": summarise(runs), "runs": runs}
    done = _keys(runs)
    total = len(methods) * len(splits) * seeds
    for method in methods:
        for seed in range(first_seed, first_seed + seeds):
            todo = [key for key in splits if (method, seed, *key) not in done]
            if not todo:
                continue
            model, run = prepare(method, seed)
            for column, share, number in todo:
                runs.append(
                    {
                        **{"method": method, "column": column, "labels": share, "seed": seed, "permutation": number},
                        **tested(
                            model,
                            table.archs,
                            table[column],
                            splits[column, share, number],
                            seed,
                            device,
                            ranker_settings or {},
                        ),
                        **run,
                        "versions": versions(),
                    }
                )
                result["summary"] = summarise(runs)
                write_atomically(out, strict_json(result, indent=1))
                progress("runs", len(runs), total)
    return result


def new_encoder(name: str, vocabulary: Sequence[str], seed: int, settings: dict[str, Any]) -> Encoder:
    """An encoder whose first weights belong to the seed."""
    with seeded(seed):
        return make_encoder(name, vocabulary, **settings)


def pretrain_task(
    name: str,
    model: Encoder,
    space: Space,
    archs: ArchBatch,
    proxy: Float[ndarray, "archs proxies"] | None,
    seed: int,
    task_settings: dict[str, Any],
    **pretrain_settings: Any,
) -> Pretraining:
    """Pre-train by a task of that name, with the flow draw that belongs to the seed.

    Args:
        name: one of :func:`archflow.tasks`.
        model: the encoder; it is trained in place.
        space: of the architectures.
        archs: what to pre-train on.
        proxy: see :func:`proxy_column`.
        seed: of the draw and of the training.
        task_settings: keyword arguments of the task, see :func:`archflow.pretraining.registry.make_task`.
        pretrain_settings: keyword arguments of :func:`archflow.pretrain`.
    """
    task, drawn = make_task(name, space, archs, proxy, seed, task_settings)
    outcome = pretrain(model, archs, task, seed=seed, **pretrain_settings)
    return replace(outcome, settings={**drawn, **outcome.settings})


def tested(
    model: Encoder,
    archs: ArchBatch,
    accuracy: Float[ndarray, " archs"],
    part: Split,
    seed: int,
    device: str,
    ranker_settings: dict[str, Any],
) -> dict[str, Any]:
    """Fine-tune a copy of an encoder on the labelled architectures of a split, and rank those for testing.

    Returns:
        The figures of the test, how they came about, and how long it took.
    """
    begun = time.monotonic()
    ranker = Ranker(model, seed=seed, device=device, **ranker_settings)
    ranker.fit(archs[part.labelled], accuracy[part.labelled], (archs[part.validation], accuracy[part.validation]))
    fitted = time.monotonic()
    score = ranker.predict(archs[part.test])
    taus = np.array(ranker.validation_taus)  # NaN where all scores were equal
    best = len(taus) - 1 if np.isnan(taus).all() else int(np.nanargmax(taus))
    return {
        **{"labelled": len(part.labelled), "tested": len(part.test)},
        **figures(accuracy[part.test], score),
        "validation_tau": float(taus[best]),
        "best_epoch": best + 1,
        **{"finetune_seconds": fitted - begun, "predict_seconds": time.monotonic() - fitted},
    }


def summarise(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean and sample standard deviation of each figure over the runs of a method, column and share of labels.

    One run has no deviation: it is None.
    """
    rows = []
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for run in runs:
        groups.setdefault((run["method"], run["column"], run["labels"]), []).append(run)
    for (method, column, share), chosen in groups.items():
        row: dict[str, Any] = {"method": method, "column": column, "labels": share, "runs": len(chosen)}
        for name in ("tau", "p_at_1", "p_at_5", "pretrain_seconds", "finetune_seconds"):
            values = np.array([run[name] for run in chosen], dtype=float)
            row[name] = float(values.mean())
            row[f"{name}_std"] = float(values.std(ddof=1)) if len(values) > 1 else None
        rows.append(row)
    return rows


def strict_json(value: Any, indent: int | None = None) -> str:
    """JSON with null where Python would write NaN or Infinity, which are no JSON."""
    return json.dumps(json.loads(json.dumps(value), parse_constant=lambda _: None), indent=indent)


def versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    import scipy

    import archflow

    return {
        "archflow": archflow.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "scipy": scipy.__version__,
    }


def _keys(runs: Sequence[dict[str, Any]]) -> set[tuple[Any, ...]]:
    return {(run["method"], run["seed"], run["column"], run["labels"], run["permutation"]) for run in runs}


def _previous_runs(out: Path, settings: dict[str, Any]) -> list[dict[str, Any]]:
    if not out.exists():
        return []
    try:
        found = json.loads(out.read_text())
        runs: list[dict[str, Any]] = found["runs"]
        _keys(runs), summarise(runs)  # a KeyError if a run lacks what resuming needs
        same = found["settings"] == json.loads(json.dumps(settings))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{out} is no result of evaluate ({error}); remove it or name another file") from None
    if not same:
        raise ValueError(f"{out} was made with other settings or data; name another file, or leave --resume out")
    return runs
