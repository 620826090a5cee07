"""Readers of every kind of file refuse a damaged file, or one of another kind, with a one-line message."""

import pickle
import re

import pytest
import torch
from safetensors.torch import save_file

from archflow.archs.batch import ArchBatch
from archflow.encoding.files import load_encoder, save_encoder
from archflow.encoding.registry import encoder
from archflow.support.files import save_tensors

ARCHS = ArchBatch.from_graphs([(["input", "conv"], [(0, 1)])], ["input", "conv"])
KINDS = {
    "archs": (ARCHS.save, ArchBatch.load),
    "encoder": (lambda path: save_encoder(encoder("gin", ARCHS.vocabulary, hidden=4), path), load_encoder),
}
"""The writer and the reader of each kind of file."""


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def path(tmp_path, kind):
    KINDS[kind][0](tmp_path / "file")
    return tmp_path / "file"


def refused(kind, path, reason, error=ValueError):
    with pytest.raises(error, match=reason):
        KINDS[kind][1](path)


def test_a_truncated_file(kind, path):
    content = path.read_bytes()
    for length in (0, 1, 5, 7, 8, 9, 60, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        refused(kind, path, re.escape(f"{path} is truncated or not an archflow file"))


class Bomb:
    def __reduce__(self):
        return pytest.fail, ("a pickle was executed",)


def test_foreign_files(kind, path):
    for content in (b"input,conv\n", b"\x00" * 100, pickle.dumps(["conv"]), pickle.dumps(Bomb())):
        path.write_bytes(content)
        refused(kind, path, re.escape(str(path)))
    torch.save({"operations": torch.zeros(3)}, path)
    refused(kind, path, re.escape(str(path)))
    save_file({"operations": torch.zeros(3)}, path)
    refused(kind, path, "not an archflow file: it was not written by archflow")


def test_a_file_of_another_kind_or_none(kind, path):
    refused(kind, path.with_name("nowhere"), "there is no file", FileNotFoundError)
    refused(kind, path.parent, "there is no file", FileNotFoundError)
    for other in ("another", *(each for each in KINDS if each != kind)):
        save_tensors(path, other, {"w": torch.zeros(3)}, {})
        refused(kind, path, f"not an archflow '{kind}' file: it holds '{other}'")
