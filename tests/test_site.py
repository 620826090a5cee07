"""What the pages of the site show is valid: commands, Python, links, the figure, the newcomer's transcript."""

from __future__ import annotations

import importlib
import re
import runpy
import shlex
from pathlib import Path

import pytest
import typer

import archflow.face
from archflow.commands.app import app

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
RUN_ELSEWHERE = {"extending.md", "first-hour.md"}
WITH_PYTHON = [page for page in PAGES if page.name not in RUN_ELSEWHERE and "```python" in page.read_text("utf-8")]
COMMAND = typer.main.get_command(app)
WrongUse = typer.BadParameter.__base__


def commands(text):
    """Whole commands: lines that are indented, continued by a backslash or not."""
    for found in re.findall(r"^ {4}(?:\$ )?(archflow (?:.*\\\n)*.*)$", text, flags=re.MULTILINE):
        yield shlex.split(found.replace("\\\n", " "), comments=True)[1:]


def parsed(words):
    """The context of the innermost verb, its options and arguments checked, and nothing run."""
    context, command = COMMAND.make_context("archflow", list(words)), COMMAND
    while hasattr(command, "resolve_command"):
        rest = [*context._protected_args, *context.args]
        if not rest:
            break
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)
    return context


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda path: path.name)
def test_commands_are_valid(page, capsys):
    for words in commands(page.read_text("utf-8")):
        try:
            parsed(words)
        except WrongUse as error:
            pytest.fail(f"archflow {shlex.join(words)}: {error.format_message()}")


def test_a_wrong_command_would_be_noticed():
    for wrong in (["rank"], ["rank", "r", "--topp", "3"], ["rnk"], ["proxies", "--size", "large"]):
        with pytest.raises(WrongUse):
            parsed(wrong)


@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda path: path.stem)
@pytest.mark.usefixtures("forgetful", "cache")
def test_python_runs(page, tmp_path, monkeypatch):
    """All of a page, from top to bottom."""
    monkeypatch.chdir(tmp_path)
    names: dict = {"__name__": "page"}
    for code in re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), flags=re.DOTALL):
        exec(code, names)


def test_every_public_name_has_an_entry_and_an_example():
    found = {}
    for page in sorted((DOCS / "api").glob("*.md")):
        for path, example in re.findall(r"^::: (\S+)\n\n```python\n(.*?)```", page.read_text("utf-8"), re.M | re.S):
            module, _, name = path.rpartition(".")
            thing = getattr(importlib.import_module(module), name)
            found[name] = thing
            assert re.search(rf"\b{name}\b", example) or isinstance(thing, type), f"{path} has no example"
    public = {name: getattr(archflow.face, name) for name in archflow.face.__all__}
    assert found == public


def test_links_lead_somewhere():
    for page in [*PAGES, ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
    for target in re.findall(r"github.com/archflow/archflow/(?:blob|tree)/main/([^)\s\"]+)", readable()):
        assert (ROOT / target).exists(), target


def readable():
    return "".join((ROOT / name).read_text("utf-8") for name in ("README.md", "pyproject.toml"))


def test_the_readme_has_no_relative_link():
    """It is also shown where the repository's files are not."""
    assert not re.findall(r"\]\((?!https://)", (ROOT / "README.md").read_text("utf-8"))


def test_the_figure_is_what_its_script_draws():
    module = runpy.run_path(str(DOCS / "figures" / "flow_surrogate.py"))
    assert module["draw_figure"]() == (DOCS / "figures" / "flow_surrogate.svg").read_text("utf-8")


@pytest.mark.usefixtures("cache")
def test_the_first_hour(call, tmp_path, monkeypatch):
    """Every command but the demonstration, which tests of its own run; and the page shows all of them."""
    monkeypatch.chdir(tmp_path)
    script = runpy.run_path(str(DOCS / "first_hour.py"))
    page = (DOCS / "first-hour.md").read_text("utf-8")
    assert script["OWN"] in page
    assert script["block"](script["INSTALL"]) in page
    exec(script["OWN"], {})
    rows = "\n".join((tmp_path / "trained.csv").read_text().splitlines()[:21])
    (tmp_path / "trained.csv").write_text(rows)
    for step in script["STEPS"]:
        assert script["block"](f"$ {step.command}") in page
        program, verb, *words = shlex.split(step.command)
        if program == "archflow" and verb != "demo":
            small = {"finetune": (), "report": ()}.get(
                verb, ("--input", "trained.csv") if verb == "rank" else ("--sample", "100")
            )
            assert call(verb, *words, *small).code == 0
    for name in ("ranker.archflow", "next.csv", "ranking.csv", "report.html"):
        assert (tmp_path / name).exists()


def test_the_site_is_built_without_a_warning(tmp_path):
    """Strictly, so that a broken link or reference fails; and no page asks for anything on the internet."""
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    build(load_config(str(ROOT / "mkdocs.yml"), strict=True, site_dir=str(tmp_path)))
    for page in tmp_path.rglob("*.html"):
        loaded = re.findall(
            r"<(?:link|script|img|iframe)\b[^>]*?(?:href|src)=\"?(https?:[^\s\">]+)", page.read_text("utf-8")
        )
        assert not loaded, f"{page.name} loads {loaded}"
