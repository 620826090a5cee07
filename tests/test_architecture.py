"""The house is as docs/architecture.md draws it: rooms import what is below them, and no file grows out of sight."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "archflow"
FILES = sorted(PACKAGE.rglob("*.py"))
ROOMS = (
    *("support", "archs", "flow", "paths", "benchmarks", "models", "encoding", "zero_cost", "pretraining", "ranking"),
    *("search", "studies", "report", "face", "commands"),
)
"""From the bottom up; ``archflow`` itself holds no more than its version and the way to the face."""
BESIDE = {
    ("archs", "flow"),
    ("benchmarks", "encoding"),
    ("models", "encoding"),
    ("zero_cost", "encoding"),
    ("report", "studies"),
}
"""Pairs of rooms of one storey, of which neither needs the other."""


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def module_of(file: Path) -> str:
    return ".".join(("archflow", *file.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


def imports(file: Path) -> set[str]:
    """Modules of archflow that a file imports, anywhere but for the type checker."""
    tree = ast.parse(file.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{file} imports relatively"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] == "archflow"}


@pytest.mark.parametrize("file", FILES, ids=module_of)
def test_a_room_imports_what_is_below_it(file):
    room = room_of(module_of(file))
    if not room or file.name == "__main__.py":
        return
    for name in imports(file):
        other = room_of(name)
        if other in ROOMS and other != room:  # else one of the face's names, or the version
            assert ROOMS.index(other) < ROOMS.index(room), name
            assert (room, other) not in BESIDE, name


@pytest.mark.parametrize("file", FILES, ids=module_of)
def test_a_file_can_be_read_in_one_go(file):
    assert len(file.read_text().splitlines()) <= 350
    if file.name == "__init__.py" and file.parent != PACKAGE:
        own = [type(node).__name__ for node in ast.parse(file.read_text()).body]
        assert set(own) <= {"Expr", "Import", "ImportFrom", "Assign", "AnnAssign"}


def test_modules_are_named_by_no_string_but_those_of_plugins():
    users = {module_of(file) for file in FILES if "import_module" in file.read_text()}
    assert users == {"archflow.support.plugins"}


def test_no_modules_import_each_other_in_a_circle():
    modules = {module_of(file) for file in FILES}
    graph = {}
    for file in FILES:
        names = imports(file)
        needed = {name if name in modules else name.rpartition(".")[0] for name in names}
        graph[module_of(file)] = needed & modules - {"archflow", module_of(file)}
    list(TopologicalSorter(graph).static_order())
