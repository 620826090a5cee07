import pytest

from archflow.support.registry import REGISTRIES, Registry, register


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
