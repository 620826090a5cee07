import copy
import re

import pytest
import torch

from archflow.archs.batch import ArchBatch
from archflow.encoding.files import load_encoder, save_encoder
from archflow.encoding.registry import ENCODERS, encode, encoder, encoders, seeded_encoder
from archflow.encoding.resgatedgcn import ResGatedGCN
from archflow.support.files import load_tensors, save_tensors
from archflow.support.registry import register
from tests.encoding import ISOLATED, batch_of, new
from tests.strategies import VOCABULARY


def test_a_registered_encoder_is_known(forgetful):
    register("encoder", "mine", type("Mine", (ResGatedGCN,), {"name": "mine"}))
    assert encoders() == sorted(encoders())
    assert type(encoder("mine", VOCABULARY, hidden=4)) is ENCODERS["mine"]


def test_archflows_own_encoders_cannot_be_replaced():
    with pytest.raises(ValueError, match=r"^archflow already has an encoder 'gin'"):
        register("encoder", "gin", ResGatedGCN)


def test_only_encoders_can_be_registered(forgetful):
    for wrong in (torch.nn.Linear, "gin", type("Other", (ResGatedGCN,), {"name": "other"})):
        with pytest.raises(ValueError, match=r"^'mine' is not an encoder"):
            register("encoder", "mine", wrong)


def test_an_unknown_encoder():
    with pytest.raises(ValueError, match=r"^unknown encoder 'resnet'; known encoders: digcn, .*resgatedgcn"):
        encoder("resnet", VOCABULARY)


def test_the_seed_fixes_the_weights_and_nothing_else():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, again, other = (seeded_encoder("gin", VOCABULARY, seed, {"hidden": 4}) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    archs = batch_of(ISOLATED)
    assert torch.equal(first(archs), again(archs))
    assert not torch.allclose(first(archs), other(archs))


def test_encode_restores_the_mode_of_each_part():
    model = new("flowerformer").train()
    model.norm.eval()
    modes = [part.training for part in model.modules()]
    assert len(set(modes)) == 2
    encode(model, batch_of(ISOLATED))
    assert [part.training for part in model.modules()] == modes
    with pytest.raises(ValueError, match="another space"):
        encode(model, ArchBatch.from_graphs([(["input"], [])], ["input"]))
    assert [part.training for part in model.modules()] == modes


def test_weights_that_do_not_fit_their_description(tmp_path):
    path = tmp_path / "encoder"
    save_encoder(new("resgatedgcn"), path)
    tensors, description = load_tensors(path, "encoder")
    other = copy.deepcopy(description)
    other["settings"]["hidden"] = 4
    lacking = {name: tensor for name, tensor in tensors.items() if name != "embed.bias"}
    more = {**tensors, "more": torch.zeros(1)}
    for weights, described in ((tensors, other), (lacking, description), (more, description)):
        save_tensors(path, "encoder", weights, described)
        with pytest.raises(ValueError, match=re.escape(f"the weights in {path} do not fit")):
            load_encoder(path)
