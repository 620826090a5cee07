import sys
from pathlib import Path

import pytest

from archflow.encoding.gin import GIN
from archflow.support.digests import digest_sources
from archflow.support.plugins import plug_in, plugged_in

pytestmark = pytest.mark.usefixtures("forgetful")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a file that counts how often it is run."""
    (tmp_path / "plug_a.py").write_text("from pathlib import Path\nPath(__file__ + '.runs').open('a').write('x')\n")
    (tmp_path / "plug_b.py").write_text("import plug_a\nseen = plug_a.__name__\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_file_runs_once_whatever_path_names_it(folder):
    (folder / "link.py").symlink_to("plug_a.py")
    plug_in(["plug_a.py", folder / "plug_a.py", Path("..") / folder.name / "plug_a.py", "link.py"])
    plug_in(["plug_a.py"])
    assert (folder / "plug_a.py.runs").read_text() == "x"
    assert plugged_in() == (str(folder.resolve() / "plug_a.py"),)


def test_files_can_import_their_neighbours(folder):
    plug_in(["plug_b.py", "plug_a.py"])
    assert sys.modules["plug_b"].seen == "plug_a"
    assert (folder / "plug_a.py.runs").read_text() == "x"
    assert [Path(each).name for each in plugged_in()] == ["plug_b.py", "plug_a.py"]


def test_neighbouring_files_shadow_no_other_module(folder):
    """A folder may contain a file with the name of a module that is not imported yet."""
    (folder / "this.py").write_text("raise RuntimeError('the wrong one')\n")
    plug_in(["plug_a.py"])
    import this

    assert Path(this.__file__) != folder / "this.py"


def test_the_digest_of_a_class_is_that_of_its_file_and_empty_for_archflows_own(folder):
    def plugged(name, code):
        (folder / f"{name}.py").write_text(code)
        plug_in([f"{name}.py"])
        return sys.modules[name].Mine

    one = plugged("plug_c", "class Mine: pass\n")
    other = plugged("plug_d", "class Mine: pass\n")
    third = plugged("plug_e", "class Mine: pass  # and more\n")
    assert digest_sources(one) == digest_sources(one, GIN) == digest_sources(other) != digest_sources(third)
    assert digest_sources(one, third) == digest_sources(third, one) != digest_sources(one)
    assert digest_sources() == digest_sources(GIN) == digest_sources(type("Typed", (), {"__module__": "nowhere"})) == ""


def test_nothing():
    plug_in(())
    assert plugged_in() == ()


@pytest.mark.parametrize(
    ("name", "error", "reason"),
    [
        ("nope.py", FileNotFoundError, "there is no file nope.py"),
        (".", FileNotFoundError, "there is no file"),
        ("plug_a", FileNotFoundError, "there is no file plug_a"),
        ("text.txt", ValueError, "text.txt is not a Python file with an importable name"),
        ("my-encoder.py", ValueError, "my-encoder.py is not a Python file with an importable name"),
        ("2.py", ValueError, "2.py is not a Python file with an importable name"),
        ("json.py", ValueError, "json.py has the name of another module"),
        ("sys.py", ValueError, "sys.py has the name of another module"),
        ("archflow.py", ValueError, "archflow.py has the name of another module"),
    ],
)
def test_what_cannot_be_plugged_in(folder, name, error, reason):
    for each in ("text.txt", "my-encoder.py", "2.py", "json.py", "sys.py", "archflow.py"):
        (folder / each).write_text("raise RuntimeError('it was run')\n")
    with pytest.raises(error, match=reason):
        plug_in([name])
    assert plugged_in() == ()


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("number = 1\nraise KeyError('mine')", r"KeyError: 'mine', line 2\)$"),
        ("\nimport no_such_module", r"ModuleNotFoundError: No module named 'no_such_module', line 2\)$"),
        ("import plug_a\ndef f(:", r"SyntaxError: .*\(plug_c.py, line 2\)\)$"),
    ],
    ids=["raised", "import", "syntax"],
)
def test_an_error_names_its_line_and_the_file_can_be_fixed(folder, code, reason):
    (folder / "plug_c.py").write_text(f"{code}\n")
    with pytest.raises(ValueError, match=rf"^plug_c\.py cannot be imported \({reason}") as caught:
        plug_in(["plug_a.py", "plug_c.py"])
    assert "\n" not in str(caught.value)
    assert [Path(each).name for each in plugged_in()] == ["plug_a.py"]
    (folder / "plug_c.py").write_text("number = 12345\n")
    plug_in(["plug_c.py"])
    assert sys.modules["plug_c"].number == 12345
