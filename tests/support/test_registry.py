import sys

import pytest

import archflow.face
from archflow.support.registry import REGISTRIES, Registry, installed, register


@pytest.fixture
def registry():
    def check(name, thing):
        if not callable(thing):
            raise ValueError(f"the oven {name} must be callable")

    yield Registry("oven", {"gas": dict, "coal": list}, check)
    del REGISTRIES["oven"]


def test_entries_are_found_by_name(registry):
    register("oven", "solar", set)
    assert [registry.find(name) for name in ("gas", "solar")] == [dict, set]
    assert registry.names() == ["coal", "gas", "solar"]


@pytest.mark.parametrize(
    ("kind", "name", "thing", "reason"),
    [
        ("oven", "gas", set, "archflow already has an oven 'gas'; choose another name"),
        ("oven", "solar", 1, "the oven solar must be callable"),
        ("stove", "solar", set, r"nothing of kind 'stove' can be registered; known kinds: .*oven"),
    ],
)
def test_what_cannot_be_registered(registry, kind, name, thing, reason):
    with pytest.raises(ValueError, match=reason):
        register(kind, name, thing)
    assert registry.names() == ["coal", "gas"]


def test_the_error_for_an_unknown_name_lists_the_known_ones(registry):
    with pytest.raises(ValueError, match=r"unknown oven 'ga'; known ovens: coal, gas$"):
        registry.find("ga")


# Entry points of installed packages

PACKAGE = """\
from archflow.encoding.gin import GIN

loaded = []


class Mine(GIN):
    name = "mine"


class Misnamed(GIN):
    name = "other"


def __getattr__(name):
    loaded.append(name)
    raise AttributeError(name)
"""


@pytest.fixture
def package(tmp_path, monkeypatch, forgetful):
    """An installed package, "lab-encoders", that declares what it is asked to, and the cache of what is declared."""
    folder = tmp_path / "lab_encoders-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: lab-encoders\nVersion: 1.0\n")
    (tmp_path / "lab_encoders.py").write_text(PACKAGE)

    def declares(group, **entries):
        lines = [f"[{group}]", *(f"{name} = {target}" for name, target in entries.items())]
        (folder / "entry_points.txt").write_text("\n".join(lines))
        sys.path.append(str(tmp_path))
        installed.cache_clear()

    return declares


def test_an_encoder_of_an_installed_package_is_found(package):
    package("archflow.encoders", mine="lab_encoders:Mine", broken="lab_encoders:nope", lost="no_such_module:Mine")
    assert {"mine", "broken", "lost", "gin"} <= set(archflow.encoders())  # a broken one is in nobody's way
    assert "lab_encoders" not in sys.modules  # until it is looked up
    assert type(archflow.encoder("mine", ["a", "b"], hidden=4)).__module__ == "lab_encoders"
    for name, reason in (("broken", "AttributeError: .*nope"), ("lost", "ModuleNotFoundError: .*no_such_module")):
        told = rf"^the encoder '{name}' of the package lab-encoders cannot be used \({reason}.*; upgrade or uninstall"
        with pytest.raises(ValueError, match=told) as caught:
            archflow.encoder(name, ["a"])
        assert "\n" not in str(caught.value)


def test_an_entry_that_does_not_qualify_or_takes_a_name_of_archflow(package):
    package("archflow.encoders", mine="lab_encoders:Misnamed", gin="lab_encoders:Mine")
    with pytest.warns(UserWarning, match=r"the package lab-encoders declares 'gin' in archflow\.encoders, which is"):
        assert "mine" in archflow.encoders()
    assert type(archflow.encoder("gin", ["a"])).__module__ == "archflow.encoding.gin"
    with pytest.raises(ValueError, match=r"the encoder 'mine' of the package lab-encoders .*name = 'mine'"):
        archflow.encoder("mine", ["a"])


@pytest.mark.parametrize("kind", ["space", "encoder", "task", "head", "table"])
def test_every_kind_has_a_group(package, kind):
    package(f"archflow.{kind}s", mine="no_such_module:Mine")
    assert "mine" in REGISTRIES[kind]
    with pytest.raises(ValueError, match=rf"the {kind} 'mine' of the package lab-encoders cannot be used"):
        REGISTRIES[kind].find("mine")


def test_a_space_and_its_table_of_an_installed_package(package, tmp_path):
    (tmp_path / "lab_space.py").write_text(
        "import numpy as np\n"
        "from archflow.benchmarks.nasbench201.space import NASBench201\n"
        "from archflow.benchmarks.record import TableSource\n"
        "from archflow.benchmarks.table import Table\n"
        "space = NASBench201()\n"
        "read = lambda: Table('lab/cells', space, space.sample(5), {'accuracy': np.arange(5.0)}, 'accuracy')\n"
        "source = TableSource('nasbench201', read, package='lab-encoders')\n"
    )
    package("archflow.tables", **{"lab/cells": "lab_space:source"})
    assert "lab/cells" in archflow.tables("nasbench201")
    assert len(archflow.table("lab/cells")) == 5


def test_the_message_for_networks(forgetful):
    with pytest.raises(ValueError, match=r"^archflow already has networks 'darts'; choose another name$"):
        register("networks", "darts", None)
