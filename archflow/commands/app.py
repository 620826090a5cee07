"""The command line: its verbs, each a function in its own file, and the options before a verb."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import archflow
from archflow.commands.demo import demo
from archflow.commands.evaluate import evaluate
from archflow.commands.finetune import finetune
from archflow.commands.pretrain import pretrain
from archflow.commands.proxies import proxies
from archflow.commands.rank import rank
from archflow.commands.report import report
from archflow.commands.reproduce import reproduce
from archflow.commands.search import search
from archflow.commands.spaces import spaces
from archflow.commands.suggest import suggest
from archflow.commands.tables import tables

VERBS = (demo, spaces, tables, proxies, pretrain, finetune, rank, suggest, search, report, evaluate, reproduce)

app = typer.Typer(name="archflow", no_args_is_help=True, pretty_exceptions_enable=False)
for verb in VERBS:
    if isinstance(verb, typer.Typer):
        app.add_typer(verb, name="tables")
    else:
        app.command()(verb)


def _version(asked: bool) -> None:
    if asked:
        print(f"archflow {archflow.__version__}")
        raise typer.Exit


@app.callback()
def before_the_verb(
    plugin: Annotated[
        list[Path] | None,
        typer.Option(help="A Python file that registers your encoders, tasks, spaces, …; may be repeated."),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print archflow's version.")
    ] = False,
) -> None:
    """Rank a whole search space of neural architectures from a few dozen training runs."""
    del version  # printed by its callback
    if plugin:
        import archflow.face  # noqa: F401 - creates the registries that the file adds to
        from archflow.support.plugins import plug_in

        plug_in(plugin)
