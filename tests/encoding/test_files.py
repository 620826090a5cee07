"""Files that are no encoder's; test_every_encoder.py says that an encoder's file gives it back."""

import copy
import re

import pytest
import torch
from safetensors.torch import save_file

from archflow.encoding.files import load_encoder, save_encoder
from archflow.support.files import load_tensors, save_tensors
from tests.encoding import ISOLATED, batch_of, new


@pytest.fixture
def path(tmp_path):
    save_encoder(new("resgatedgcn"), tmp_path / "encoder")
    return tmp_path / "encoder"


def test_a_truncated_file(path):
    content = path.read_bytes()
    for length in (0, 5, 8, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=re.escape(f"{path} is truncated or no archflow file")):
            load_encoder(path)


def test_foreign_files(path, tmp_path):
    weights = new("resgatedgcn").state_dict()
    torch.save(weights, path)
    with pytest.raises(ValueError, match=re.escape(str(path))):
        load_encoder(path)
    save_file(weights, path)
    with pytest.raises(ValueError, match="no archflow 'encoder' file: it was not written by archflow"):
        load_encoder(path)
    batch_of(ISOLATED).save(path)
    with pytest.raises(ValueError, match="no archflow 'encoder' file: it holds 'archs'"):
        load_encoder(path)
    with pytest.raises(FileNotFoundError):
        load_encoder(tmp_path / "nowhere")


def test_weights_that_do_not_fit_their_description(path):
    tensors, description = load_tensors(path, "encoder")
    other = copy.deepcopy(description)
    other["settings"]["hidden"] = 4
    lacking = {name: tensor for name, tensor in tensors.items() if name != "embed.bias"}
    more = {**tensors, "more": torch.zeros(1)}
    for weights, described in ((tensors, other), (lacking, description), (more, description)):
        save_tensors(path, "encoder", weights, described)
        with pytest.raises(ValueError, match=re.escape(f"the weights in {path} do not fit")):
            load_encoder(path)
