"""The command ``archflow``: each verb reads files, calls the function of the same name, and writes files."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table as RichTable

import archflow
from archflow.benchmarks.networks import family
from archflow.benchmarks.own_tables import read_table, require_format, write_table
from archflow.benchmarks.registry import Space
from archflow.benchmarks.table import OFFICIAL, Table, add, keep, table, tables
from archflow.commands.demo import demo as run_demo
from archflow.commands.demo import titled
from archflow.encoding.registry import load_encoder, save_encoder
from archflow.flow import FlowDraw, flow_surrogate
from archflow.ranking.ranker import Ranker
from archflow.report.page import Report, write_report
from archflow.studies import evaluate as evaluation
from archflow.studies.evaluate import figures, new_encoder, pretrain_task, proxy_column, strict_json
from archflow.studies.grids import BUDGETS
from archflow.studies.reproduce import cost, plan
from archflow.support.files import require_writable
from archflow.support.plugins import plug_in
from archflow.support.progress import Display
from archflow.zero_cost.measures import PROXIES, require_known

app = typer.Typer(
    name="archflow",
    help="Rank a whole search space of neural architectures from a few dozen training runs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

PROXY_HELP = (
    "measured (all that 'archflow proxies' made), closed-form (all that the space knows), some of them joined by "
    "commas (measured/nwot,parameters), a column, or none."
)

Seed = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Fixes everything random.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, … or auto, for a GPU where there is one.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with a run that was interrupted or killed.")]
SpaceName = Annotated[str, typer.Option("--space", help="Name of a search space; 'archflow spaces' lists them.")]
ArchColumn = Annotated[str, typer.Option(help="Column of architectures in the space's native notation.")]
Sample = Annotated[int | None, typer.Option(help="So many of the space at random rather than all.")]
Lambda1 = Annotated[
    float | None, typer.Option(help="FGP's weight of the reconstruction, by default 0.05; 0 leaves it out.")
]
Lambda2 = Annotated[float | None, typer.Option(help="FGP's weight of the proxies, by default 0.5; 0 leaves them out.")]
ProxyLoss = Annotated[
    str | None, typer.Option(help="How FGP and zero-cost learn proxies: ranking, by default, or regression.")
]
Input = Annotated[
    Path | None, typer.Option("--input", help="CSV, JSONL or Parquet file of architectures; else the whole space.")
]


@app.callback()
def plugins(
    plugin: Annotated[
        list[Path] | None,
        typer.Option(help="A Python file in which you register encoders, tasks, spaces or networks; may be repeated."),
    ] = None,
) -> None:
    """Rank a whole search space of neural architectures from a few dozen training runs."""
    plug_in(plugin or ())


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for report.html.")] = Path("demo"),
    epochs: Annotated[int, typer.Option(help="Epochs of pre-training.")] = 100,
    seed: Seed = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """FGP beside plain supervised learning on all of NAS-Bench-201, from 78 trained cells."""
    _require_output(out / "report.html")
    with Display() as progress:
        result = run_demo(out, epochs=epochs, seed=seed, device=device, progress=progress)
    if as_json:
        print(strict_json(result))
        return
    console = Console()
    console.print(_result_table("15,625 cells ranked from 78 trained ones", result["rows"]))
    best = RichTable(title="The ten best cells that FGP found among those without a label")
    for heading in ("", "true rank", "accuracy", "cell"):
        best.add_column(heading, justify="left" if heading == "cell" else "right", overflow="fold")
    for number, cell in enumerate(result["best"], start=1):
        best.add_row(str(number), f"{cell['true_rank']:,}", f"{cell['accuracy']:.2f}", cell["arch"])
    console.print(best)
    console.print(f"report: {result['report']}")


@app.command()
def spaces(
    name: Annotated[str | None, typer.Argument(help="One space, to list its architectures.")] = None,
    sample: Sample = None,
    out: Annotated[
        Path | None, typer.Option(help="Write its architectures to this CSV, JSONL or Parquet file.")
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """List the search spaces, or write the architectures of one to a file."""
    del device  # every verb takes it; this one computes nothing
    if name is None and out is not None:
        raise ValueError("name the space whose architectures are to be written")
    if sample is not None and out is None:
        raise ValueError("--sample needs a space and --out, the file to write to")
    if name is None:
        rows = [{"space": each, **_facts(archflow.space(each))} for each in archflow.spaces()]
        if as_json:
            print(strict_json({"spaces": rows, "tables": tables(), "encoders": archflow.encoders()}))
            return
        cells = ((row["space"], _count(row["architectures"]), ", ".join(row["operations"])) for row in rows)
        _listing(("space", "architectures", "operations"), cells)
        return
    space = archflow.space(name)
    if out is None:
        facts = {"space": name, **_facts(space)}
        _say(as_json, facts, f"{name}: {_count(facts['architectures'])} architectures")
        return
    require_format(out)
    _require_output(out)
    archs = space.enumerate() if sample is None else space.sample(sample, seed)
    columns: dict[str, Any] = {"arch": space.format(archs)}
    for column in ("parameters", "flops"):
        try:
            columns[column] = getattr(space, column)(archs)
        except ValueError:  # a space whose networks have no closed form
            continue
    write_table(out, columns)
    _say(as_json, {"space": name, "architectures": len(archs), "out": str(out)}, f"{len(archs):,} written to {out}")


tables_app = typer.Typer(invoke_without_command=True)
app.add_typer(tables_app, name="tables")


@tables_app.callback()
def list_tables(context: typer.Context, seed: Seed = 0, device: Device = "auto", as_json: Json = False) -> None:
    """List the tables of trained results, add some, or write one to a file."""
    del seed, device  # every verb takes them; nothing here is random or computed
    if context.invoked_subcommand is not None:
        return
    rows = [{"table": name, "files": OFFICIAL[name].files if name in OFFICIAL else ""} for name in tables()]
    if as_json:
        print(strict_json({"tables": rows}))
        return
    headings = ("table", "made from these official files, by 'archflow tables add TABLE PATH'")
    _listing(headings, (row.values() for row in rows))


@tables_app.command("add")
def add_table(
    name: Annotated[str, typer.Argument(help="Name of an official table, or your own CSV, JSONL or Parquet file.")],
    path: Annotated[Path | None, typer.Argument(help="The official file, archive or folder.")] = None,
    space: Annotated[str | None, typer.Option(help="Search space of your own file.")] = None,
    arch_column: ArchColumn = "arch",
    column: Annotated[str, typer.Option(help="Your own file's column of accuracies, used where none is named.")] = "",
    out: Annotated[str | None, typer.Option(help="Name for your own table; the file's name by default.")] = None,
    seed: Seed = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Check a file of trained results, convert it once, and keep it under a name."""
    del seed, device
    if path is not None:
        if space or column or out:
            raise ValueError("--space, --column and --out are for your own files; an official table knows its own")
        with Display() as progress:
            found = add(name, path, progress)
    else:
        if space is None:
            raise ValueError(
                f"name the official file too (archflow tables add {name} PATH)"
                if name in OFFICIAL
                else f"{name}: name the search space of your own file with --space"
            )
        own = read_table(name, archflow.space(space), arch_column)
        if column:
            own[column]  # raises if there is no such column of numbers
        its_name = out or Path(name).stem
        if its_name in OFFICIAL:
            raise ValueError(f"{its_name} is the name of an official table; name your own otherwise with --out")
        found = keep(replace(own, name=its_name, default=column))
    facts = {"table": found.name, "space": found.space.name, "architectures": len(found)}
    columns = ", ".join(found.columns) or "no columns of numbers"
    others = [name for name in found.left_out if name != arch_column]
    left_out = f"; left out, as they are no numbers: {', '.join(others)}" * bool(others)
    _say(
        as_json,
        {**facts, "columns": list(found.columns), "default": found.default, "left_out": others},
        f"{found.name}: {len(found):,} architectures of {found.space.name}; {columns}{left_out}",
    )


@tables_app.command("write")
def write_out(
    name: Annotated[str, typer.Argument(help="Name of a table.")],
    out: Annotated[Path, typer.Option(help="CSV, JSONL or Parquet file to write it to.")],
    arch_column: ArchColumn = "arch",
    seed: Seed = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Write a table with its architectures in the space's native notation."""
    del seed, device
    require_format(out)
    _require_output(out)
    found = table(name)
    if arch_column in found.columns:
        raise ValueError(f"{name} has numbers in its column '{arch_column}'; name another one with --arch-column")
    write_table(out, {arch_column: found.space.format(found.archs), **found.columns})
    facts = {"table": name, "architectures": len(found), "out": str(out)}
    _say(as_json, facts, f"{len(found):,} written to {out}")


@app.command()
def proxies(
    space: SpaceName = "nasbench201",
    input: Input = None,
    sample: Sample = None,
    arch_column: ArchColumn = "arch",
    proxy: Annotated[str, typer.Option(help=f"Some of {', '.join(PROXIES)}, joined by commas.")] = ",".join(PROXIES),
    images: Annotated[
        str, typer.Option(help="natural or white (Gaussian, with random labels), or the folder of CIFAR-10's batches.")
    ] = "natural",
    batch_size: Annotated[int, typer.Option(help="Images in the minibatch.")] = 64,
    size: Annotated[int | None, typer.Option(help="Their height and width; the benchmark's by default.")] = None,
    width: Annotated[int | None, typer.Option(help="Channels of the first cells; the benchmark's by default.")] = None,
    depth: Annotated[int | None, typer.Option(help="Cells, or cells a stage; the benchmark's by default.")] = None,
    classes: Annotated[int | None, typer.Option(help="Classes; the benchmark's by default.")] = None,
    processes: Annotated[int | None, typer.Option(help="Processes that share the work; one a core by default.")] = None,
    resume: Resume = False,
    out: Annotated[
        Path,
        typer.Option(
            help="CSV, JSONL or Parquet file; OUT.partial holds an unfinished run. In JSONL the -inf of a network that "
            "is cut is null, as what failed is."
        ),
    ] = Path("proxies.parquet"),
    seed: Seed = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Measure zero-cost proxies on the untrained networks of a space, or of a file of architectures."""
    require_format(out)
    _require_output(out)
    require_known(proxy.split(","))
    family(archflow.space(space).name)  # raises if it has no networks
    data = _read(space, input, arch_column, sample, seed)
    begun = time.monotonic()
    with Display() as progress:
        found = archflow.proxies(
            space,
            data.archs,
            proxy.split(","),
            images=images,
            batch_size=batch_size,
            **{"size": size, "width": width, "depth": depth, "classes": classes},
            seed=seed,
            processes=processes,
            device=device,
            out=out,
            resume=resume,
            progress=progress,
        )
    facts = {"out": str(out), "architectures": len(found), "proxies": list(found.columns)}
    _say(
        as_json,
        {**facts, "seconds": time.monotonic() - begun},
        f"{len(found.columns)} proxies of {len(found):,} architectures: {out}",
    )


@app.command()
def pretrain(
    space: SpaceName = "nasbench201",
    input: Input = None,
    sample: Sample = None,
    arch_column: ArchColumn = "arch",
    encoder: Annotated[str, typer.Option(help="Which encoder.")] = "resgatedgcn",
    hidden: Annotated[int, typer.Option(help="Width of the encoder.")] = 128,
    layers: Annotated[int, typer.Option(help="Layers of the encoder.")] = 3,
    task: Annotated[str, typer.Option(help=f"What to learn: {', '.join(archflow.tasks())}.")] = "fgp",
    proxy: Annotated[str, typer.Option(help=PROXY_HELP)] = "closed-form",
    proxy_loss: ProxyLoss = None,
    lambda1: Lambda1 = None,
    lambda2: Lambda2 = None,
    k: Annotated[int | None, typer.Option(help="Width of the flow surrogate; the space's own by default.")] = None,
    std: Annotated[float | None, typer.Option(help="Standard deviation of its draw; the space's by default.")] = None,
    draws: Annotated[int | None, typer.Option(help="How many draws of it stand side by side; 1 by default.")] = None,
    passes: Annotated[str | None, typer.Option(help="Its passes: both (by default), forward or backward.")] = None,
    rounds: Annotated[int | None, typer.Option(help="How many times it flows forward and back; 1 by default.")] = None,
    epochs: Annotated[int, typer.Option(help="Times through all architectures.")] = 200,
    batch_size: Annotated[int, typer.Option(help="Architectures in a minibatch.")] = 256,
    lr: Annotated[float, typer.Option(help="Learning rate.")] = 1e-3,
    precision: Annotated[str, typer.Option(help="Lightning Fabric's name: 32-true, bf16-mixed, …")] = "32-true",
    processes: Annotated[int, typer.Option(help="Processes that share each minibatch.")] = 1,
    checkpoint_seconds: Annotated[float, typer.Option(help="How often the run is saved.")] = 30,
    resume: Resume = False,
    out: Annotated[Path, typer.Option(help="File for the encoder; OUT.partial holds an unfinished run.")] = Path(
        "encoder.archflow"
    ),
    seed: Seed = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Pre-train an encoder on all architectures of a space, without a label."""
    _require_output(out)
    data = _read(space, input, arch_column, sample, seed)
    model = new_encoder(encoder, data.archs.vocabulary, seed, {"hidden": hidden, "layers": layers})
    chosen = {"k": k, "std": std, "draws": draws, "passes": passes, "rounds": rounds}
    chosen |= {"proxy_loss": proxy_loss, "lambda1": lambda1, "lambda2": lambda2}
    task_settings = {name: value for name, value in chosen.items() if value is not None}
    unfinished = out.with_name(out.name + ".partial")
    loop_settings = {
        **{"epochs": epochs, "batch_size": batch_size, "lr": lr, "precision": precision, "processes": processes},
        **{"checkpoint": unfinished, "checkpoint_seconds": checkpoint_seconds, "resume": resume},
    }
    with Display() as progress:
        values = proxy_column(data, proxy)
        outcome = pretrain_task(
            task,
            model,
            data.space,
            data.archs,
            values,
            seed,
            task_settings,
            device=device,
            progress=progress,
            **loop_settings,
        )
    save_encoder(model, out, space=data.space.name, proxy=proxy, pretraining=outcome.settings, losses=outcome.losses)
    unfinished.unlink(missing_ok=True)
    last = {name: curve[-1] for name, curve in outcome.losses.items()}
    result = {"out": str(out), "seconds": outcome.seconds, "losses": last, "settings": outcome.settings}
    losses = ", ".join(f"{name} {value:.4g}" for name, value in last.items())
    _say(as_json, result, f"pre-trained on {len(data):,} architectures in {outcome.seconds:.0f} s ({losses}): {out}")


@app.command()
def finetune(
    input: Annotated[Path, typer.Option("--input", help="File of labelled architectures.")],
    labels: Annotated[str, typer.Option(help="Column of accuracies, higher is better.")] = "accuracy",
    pretrained: Annotated[
        Path | None, typer.Option(help="Encoder from 'pretrain'; else one with random weights.")
    ] = None,
    space: Annotated[str | None, typer.Option(help="Search space; the pre-trained encoder's by default.")] = None,
    arch_column: ArchColumn = "arch",
    validation: Annotated[
        Path | None, typer.Option(help="File of other labelled ones, to keep the best epoch.")
    ] = None,
    epochs: Annotated[int, typer.Option(help="Times through the labelled architectures.")] = 500,
    batch_size: Annotated[int, typer.Option(help="Architectures in a minibatch.")] = 16,
    lr: Annotated[float, typer.Option(help="Learning rate.")] = 1e-3,
    out: Annotated[Path, typer.Option(help="File for the ranker.")] = Path("ranker.archflow"),
    seed: Seed = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Teach an encoder to rank, from a few labelled architectures."""
    _require_output(out)
    if pretrained is None:
        provenance: dict[str, Any] = {"space": space or "nasbench201"}
        model = new_encoder("resgatedgcn", archflow.space(provenance["space"]).vocabulary, seed, {})
    else:
        model, provenance = load_encoder(pretrained)
    data = _read(_agreed_space(space, provenance, pretrained), input, arch_column)
    held = None
    if validation is not None:
        others = _read(data.space.name, validation, arch_column)
        held = others.archs, others[labels]
    ranker = Ranker(model, epochs=epochs, batch_size=batch_size, lr=lr, seed=seed, device=device)
    with Display() as progress:
        ranker.fit(data.archs, data[labels], held, progress)
    ranker.save(out, **provenance)
    best = max(ranker.validation_taus) if ranker.validation_taus else None
    known = f", validation τ {best:.3f}" if best is not None else ""
    _say(
        as_json,
        {"out": str(out), "labels": len(data), "loss": ranker.losses[-1], "validation_tau": best},
        f"fine-tuned on {len(data):,} labels{known}: {out}",
    )


@app.command()
def rank(
    ranker: Annotated[Path, typer.Argument(help="Ranker from 'finetune'.")],
    input: Input = None,
    sample: Sample = None,
    space: Annotated[str | None, typer.Option(help="Search space; the ranker's by default.")] = None,
    arch_column: ArchColumn = "arch",
    top: Annotated[int | None, typer.Option(min=1, help="Only so many of the best.")] = None,
    out: Annotated[Path | None, typer.Option(help="CSV, JSONL or Parquet file for the ranking.")] = None,
    seed: Seed = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Score architectures, best first."""
    if out is not None:
        require_format(out)
        _require_output(out)
    model = Ranker.load(ranker, device)
    data = _read(_agreed_space(space, model.provenance, ranker), input, arch_column, sample, seed)
    scores = model.predict(data.archs)
    order = np.argsort(-scores, kind="stable")[:top]
    strings = data.space.format(data.archs[order])
    if out is not None:
        write_table(out, {"rank": np.arange(1, len(order) + 1), "arch": strings, "score": scores[order]})
    best = [{"arch": arch, "score": float(score)} for arch, score in zip(strings, scores[order], strict=True)][:10]
    if as_json:
        print(strict_json({"architectures": len(data), "out": out and str(out), "best": best}))
        return
    for number, row in enumerate(best, start=1):
        print(f"{number:3}  {row['score']:8.4f}  {row['arch']}")
    if out is not None:
        print(f"{len(order):,} written to {out}")


@app.command()
def evaluate(
    space: Annotated[str | None, typer.Option(help="Search space; the table's by default, or nasbench201.")] = None,
    table_name: Annotated[
        str | None, typer.Option("--table", help="A published table; the space's by default.")
    ] = None,
    input: Annotated[
        Path | None, typer.Option("--input", help="Your own file of architectures and accuracies.")
    ] = None,
    arch_column: ArchColumn = "arch",
    column: Annotated[
        list[str] | None, typer.Option(help="Column of accuracies; may be repeated; the table's own by default.")
    ] = None,
    labels: Annotated[
        list[float] | None, typer.Option(help="Labelled share of the pool, or number if above 1; may be repeated.")
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(help=f"none, {', '.join(archflow.tasks())}; may be repeated. none and fgp by default."),
    ] = None,
    seeds: Annotated[int, typer.Option(help="How many seeds, from --seed on.")] = 3,
    permutations: Annotated[int, typer.Option(help="How many permutations for each seed.")] = 3,
    pool: Annotated[int | None, typer.Option(help="Size of the training pool; the published one by default.")] = None,
    encoder: Annotated[str, typer.Option(help="Which encoder.")] = "resgatedgcn",
    hidden: Annotated[int, typer.Option(help="Width of the encoder.")] = 128,
    layers: Annotated[int, typer.Option(help="Layers of the encoder.")] = 3,
    proxy: Annotated[str, typer.Option(help=PROXY_HELP)] = "closed-form",
    proxy_loss: ProxyLoss = None,
    lambda1: Lambda1 = None,
    lambda2: Lambda2 = None,
    epochs: Annotated[int, typer.Option(help="Epochs of pre-training.")] = 200,
    finetune_epochs: Annotated[int, typer.Option(help="Epochs of fine-tuning.")] = 500,
    resume: Annotated[bool, typer.Option("--resume", help="Keep the runs that OUT already holds.")] = False,
    out: Annotated[Path, typer.Option(help="JSON file for every run.")] = Path("evaluate.json"),
    seed: Seed = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Compare pre-training with none: seeds × permutations, mean and standard deviation."""
    _require_output(out)
    if input is not None:
        data = _read(space or "nasbench201", input, arch_column)
    else:
        known = tables(archflow.space(space or "nasbench201").name)
        if not table_name and not known:
            raise ValueError(f"there is no published table of the space {space}; name your own with --input")
        data = table(table_name or known[0])
        if space and data.space.name != space:
            raise ValueError(f"the table {table_name} is of the space {data.space.name}, not of {space}")
    methods = method or evaluation.METHODS
    task_settings: dict[str, dict[str, Any]] = {}
    learns_proxies = [task for task in ("fgp", "zero-cost") if task in methods] or ["fgp"]
    its_tasks = {"lambda1": ["fgp"], "lambda2": ["fgp"], "proxy_loss": learns_proxies}
    for name, value in (("lambda1", lambda1), ("lambda2", lambda2), ("proxy_loss", proxy_loss)):
        for task in its_tasks[name] if value is not None else ():
            task_settings.setdefault(task, {})[name] = value
    with Display() as progress:
        result = evaluation.evaluate(
            data,
            column or (),
            labels=labels or [0.01],
            methods=methods,
            seeds=seeds,
            permutations=permutations,
            first_seed=seed,
            pool=pool,
            encoder=encoder,
            encoder_settings={"hidden": hidden, "layers": layers},
            proxy=proxy,
            task_settings=task_settings,
            pretrain_settings={"epochs": epochs},
            ranker_settings={"epochs": finetune_epochs},
            device=device,
            out=out,
            resume=resume,
            progress=progress,
        )
    if as_json:
        print(strict_json(result))
        return
    Console().print(_result_table(f"{data.name}, {len(data):,} architectures", result["summary"]))
    print(f"every run: {out}")


@app.command()
def reproduce(
    name: Annotated[str | None, typer.Argument(help="A study; without one they are listed.")] = None,
    only: Annotated[
        str | None, typer.Option(help="AXIS=VALUE, …: of each axis only these, e.g. encoder=gin,space=nasbench201.")
    ] = None,
    add: Annotated[
        str | None, typer.Option(help="AXIS=VALUE, …: more rows, e.g. encoder=mine; space, encoder and pretext grow.")
    ] = None,
    list_cells: Annotated[bool, typer.Option("--list", help="Show what is left to do, and do nothing.")] = False,
    budget: Annotated[str, typer.Option(help=f"Sizes and epochs: {', '.join(BUDGETS)}.")] = "published",
    epochs: Annotated[int | None, typer.Option(help="Epochs of pre-training; the budget's by default.")] = None,
    finetune_epochs: Annotated[int | None, typer.Option(help="Epochs of fine-tuning; the budget's by default.")] = None,
    seeds: Annotated[int, typer.Option(help="How many seeds, from --seed on.")] = 3,
    splits: Annotated[int, typer.Option(help="How many permutations for each seed.")] = 3,
    table_name: Annotated[
        str | None, typer.Option("--table", help="SPACE=TABLE, …: where accuracies come from; else the first known.")
    ] = None,
    processes: Annotated[int, typer.Option(help="Processes that share the work, each with one thread.")] = 1,
    out: Annotated[Path, typer.Option(help="Folder for the results of all studies.")] = Path("reproduce"),
    seed: Seed = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Redo a study of the paper: make the runs that are not done yet, then its table and plots."""
    if name is None:
        known = archflow.studies.reproduce.studies()
        if as_json:
            print(strict_json({"studies": known}))
            return
        _listing(["study", "what it asks"], known.items())
        return
    settings: dict[str, Any] = {
        **{"only": _pairs(only, "--only"), "add": _pairs(add, "--add"), "source": _pairs(table_name, "--table")},
        **{"budget": budget, "epochs": epochs, "finetune_epochs": finetune_epochs, "splits": splits, "device": device},
    }
    if list_cells:
        jobs, _, failures = plan(name, **settings, seeds=range(seed, seed + seeds), folder=out)
        rows = cost(jobs, out)
        if as_json:
            print(strict_json({"left": rows, "failures": [vars(failure) for failure in failures]}))
            return
        cells = [
            ["?" if value is None else f"{value:.1f}" if key == "hours" else str(value) for key, value in row.items()]
            for row in rows
        ]
        _listing(rows[0].keys() if rows else ["nothing"], cells)
        for failure in failures:
            print(f"cannot be run: {failure.what}: {failure.why}")
        return
    with Display() as progress:
        outcome = archflow.reproduce(
            name, **settings, seeds=seeds, first_seed=seed, processes=processes, out=out, progress=progress
        )
    for failure in outcome.failures:
        print(f"failed: {failure.what}: {' '.join(failure.why.split())}", file=sys.stderr)
    files = [str(file) for file in outcome.files]
    facts = {"study": name, "runs": outcome.runs, "done": len(outcome.lines), "files": files}
    failed = [vars(failure) for failure in outcome.failures]
    _say(as_json, {**facts, "failures": failed, "lines": outcome.lines}, f"{outcome.table}\n{', '.join(files)}")
    if outcome.failures:
        raise typer.Exit(1)


@app.command()
def report(
    ranker: Annotated[Path, typer.Argument(help="Ranker from 'finetune'.")],
    input: Input = None,
    table_name: Annotated[str | None, typer.Option("--table", help="A published table with true accuracies.")] = None,
    space: Annotated[str | None, typer.Option(help="Search space; the ranker's by default.")] = None,
    arch_column: ArchColumn = "arch",
    column: Annotated[str, typer.Option(help="Column of true accuracies, where they are known.")] = "",
    out: Annotated[Path, typer.Option(help="The HTML page.")] = Path("report.html"),
    seed: Seed = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Write one self-contained HTML page about a ranker and what it ranks."""
    _require_output(out)
    model = Ranker.load(ranker, device)
    name = _agreed_space(space, model.provenance, ranker)
    data = table(table_name) if table_name else _read(name, input, arch_column)
    column = column or data.default
    accuracy = data[column] if column else None
    scores = model.predict(data.archs)
    rows = []
    if accuracy is not None:
        known = ~np.isnan(accuracy)
        rows.append(
            {"method": str(ranker), **figures(accuracy[known], scores[known]), "architectures": int(known.sum())}
        )
    k, std = data.space.flow_defaults
    draw = FlowDraw.sample(len(data.space.vocabulary), k, std, seed)
    curves = {
        "Pre-training loss": model.provenance.get("losses", {}),
        "Fine-tuning loss": {"fine-tuning": model.losses},
        "Kendall's τ on the validation architectures": {"validation": model.validation_taus},
    }
    page = Report(
        title=f"{ranker.stem} on {data.space.name}",
        archs=data.archs,
        strings=data.space.format(data.archs),
        scores={ranker.stem: scores},
        accuracy=accuracy,
        surrogate=flow_surrogate(data.archs, draw).numpy(),
        curves={title: curves for title, curves in curves.items() if any(len(curve) for curve in curves.values())},
        rows=[titled(row) for row in rows],
        settings={"fine-tuning": model.settings, **{k: v for k, v in model.provenance.items() if k != "losses"}},
    )
    write_report(out, page)
    _say(as_json, {"out": str(out), "architectures": len(data), "rows": rows}, f"report: {out}")


def main() -> None:
    """Run the command; a mistake that a user can make is one line on standard error and exit code 2."""
    try:
        code = app(standalone_mode=False)
    except Exception as error:
        mistake = _mistake(error)
        if mistake is None:
            raise
        if mistake:
            print(f"archflow: {' '.join(mistake.split())}", file=sys.stderr)
        sys.exit(2)
    if code == 130:
        how = dict.fromkeys(("pretrain", "evaluate", "proxies"), "--resume goes")
        how["reproduce"] = "the same command goes"
        goes_on = [f"; {how[word]} on from what was saved" for word in sys.argv[1:] if word in how]
        print(f"archflow: interrupted{''.join(goes_on[:1])}", file=sys.stderr)
    sys.exit(1 if code else 0)


def _mistake(error: Exception) -> str | None:
    """What the user did wrong, or None if the error is archflow's own; empty if the help that is shown says enough."""
    if hasattr(error, "format_message"):  # a usage error of Typer's, whichever click it carries
        message: str = error.format_message()
        return message and f"{message} (see archflow --help)"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return str(error) if isinstance(error, ValueError | OSError | ModuleNotFoundError) else None


def _read(space: str, path: Path | None, arch_column: str, sample: int | None = None, seed: int = 0) -> Table:
    """The architectures of a file, a sample of the space, or all of it."""
    known = archflow.space(space)
    if path is not None and sample is not None:
        raise ValueError("--input and --sample exclude each other")
    if path is not None:
        return read_table(path, known, arch_column)
    return Table(known.name, known, known.enumerate() if sample is None else known.sample(sample, seed), {})


def _agreed_space(named: str | None, provenance: dict[str, Any], file: Path | None) -> str:
    """The space that a checkpoint is of; refuses another one that is named beside it."""
    own: str | None = provenance.get("space")
    if own and named and own != named:
        raise ValueError(f"{file} is a checkpoint of the space {own}, not of {named}")
    found = named or own
    if not found:
        raise ValueError(f"{file} does not say of which space it is; name it with --space")
    return found


def _require_output(path: Path) -> None:
    """As :func:`require_writable`, but the error names the file that the user named."""
    try:
        require_writable(path)
    except OSError as error:
        if not error.strerror:
            raise
        raise OSError(f"{error.strerror}: {path} cannot be written; name another place with --out") from None


def _count(size: int | None) -> str:
    return "uncounted" if size is None else f"{size:,}" if size < 10**9 else f"{size:.2g}"


def _facts(space: Space) -> dict[str, Any]:
    return {"architectures": space.size, "operations": list(space.vocabulary)}


def _say(as_json: bool, result: dict[str, Any], line: str) -> None:
    print(strict_json(result) if as_json else line)


def _pairs(text: str | None, option: str) -> list[tuple[str, str]]:
    """What an option says of axes."""
    pairs = []
    for part in text.split(",") if text else ():
        axis, equals, value = part.partition("=")
        if not (axis and equals and value):
            raise ValueError(f"{option} takes AXIS=VALUE, joined by commas, not '{part}'")
        pairs.append((axis.strip(), value.strip()))
    return pairs


def _listing(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    listing = RichTable()
    for heading in headings:
        listing.add_column(heading, overflow="fold")
    for row in rows:
        listing.add_row(*row)
    Console().print(listing)


def _result_table(title: str, rows: list[dict[str, Any]]) -> RichTable:
    """τ, P@1% and P@5% in hundredths, with standard deviations where there are any."""
    listing = RichTable(title=title)
    several_runs = "runs" in rows[0]
    headings = [
        "pre-training",
        *(["column", "labels", "runs"] if several_runs else []),
        "τ ×100",
        "P@1% ×100",
        "P@5% ×100",
        "seconds",
    ]
    for heading in headings:
        listing.add_column(heading, justify="left" if heading in ("pre-training", "column") else "right")
    for row in rows:
        cells = [row["method"]]
        if several_runs:
            labels = f"{row['labels']:.3g}" if row["labels"] > 1 else f"{row['labels']:.3%}".replace(".000", "")
            cells += [row["column"], labels, str(row["runs"])]
        for name in ("tau", "p_at_1", "p_at_5"):
            std = row.get(f"{name}_std")
            spread = f" ± {100 * std:.1f}" if std is not None else ""
            cells.append(f"{100 * row[name]:.1f}{spread}")
        seconds = row["seconds"] if "seconds" in row else row["pretrain_seconds"] + row["finetune_seconds"]
        listing.add_row(*cells, f"{seconds:.0f}")
    return listing


if __name__ == "__main__":
    main()
