"""Properties of every task with every encoder."""

import json
from dataclasses import fields

import numpy as np
import pytest
import torch

import archflow
from archflow import ArchBatch, encoder
from archflow.encoding.registry import encoders
from archflow.pretraining.registry import TASKS, make_task, tasks
from tests.pretraining import (
    ARCHS,
    DRAW,
    PROXIES,
    PROXY,
    SPACE,
    VARIANTS,
    InterruptAt,
    assert_equal,
    batch_of,
    new,
    run,
    weights_of,
)
from tests.strategies import VOCABULARY, random_graphs, renumber

ENCODERS = [*encoders(), "flat", "table"]

OTHER = {
    "fgp": {
        "lambda1": 0.6, "lambda2": 0.0, "proxy_loss": "regression", "margin": 0.1, "alpha": 0.4, "passes": "forward",
        "rounds": 2, "standardise": False, "decoder_width": 8, "proxy_width": 8, "k": 6, "std": 0.2, "draws": 2,
        "draw_seed": 1,
    },
    "zero-cost": {"proxy_loss": "regression", "margin": 0.1, "proxy_width": 8},
    "arch2vec": {"latent": 4, "kl": 1},
    "gmae": {"share": 0.2, "replace": 0, "decoder_width": 8},
    "graphcl": {"augmentations": ["edges"], "share": 0.3, "temperature": 1, "projection_width": 8},
}  # fmt: skip
"""For every setting of every task, a value other than the default."""

NAN, INFINITY, PASSES = float("nan"), float("inf"), "rounds must be 1, or up to 1,000 with both passes, not"
WIDTHS = "must be from 1 to 65,536, not"
REFUSED = [
    ("fgp", "lambda1", [-1.0, INFINITY], "lambda1 and lambda2 must be 0 or more"),
    ("fgp", "lambda2", [-1.0, NAN], "lambda1 and lambda2 must be 0 or more"),
    ("fgp", "passes", ["sideways"], "unknown passes 'sideways'; known: both, forward, backward"),
    ("fgp", "rounds", [0, 10**9], PASSES),
    ("fgp", "proxy_loss", ["guessing"], "unknown proxy_loss 'guessing'; known: ranking, regression"),
    ("fgp", "draws", [0, 10**9], "draws must be from 1 to 4,096, not"),
    ("fgp", "k", [0, 10**9], "k must be from 1 to 4,096, not"),
    ("fgp", "std", [0.0, -1.0, NAN], "std > 0"),
    ("fgp", "draw_seed", [-1], "draw_seed must be from 0"),
    ("fgp", "alpha", [-0.1, 1.1, NAN], "alpha must be between 0 and 1"),
    ("fgp", "decoder_width", [0, 10**9], WIDTHS),
    ("fgp", "proxy_width", [0, 10**9], WIDTHS),
    ("fgp", "proxy", [None], "no setting 'proxy'"),
    ("fgp", "draw", [None], "no setting 'draw'"),
    ("zero-cost", "proxy_loss", ["guessing"], "unknown proxy_loss 'guessing'; known: ranking, regression"),
    ("zero-cost", "proxy_width", [0, 10**9], WIDTHS),
    ("zero-cost", "proxy", [None], "no setting 'proxy'"),
    ("zero-cost", "k", [3], "no setting 'k'"),
    ("zero-cost", "lambda1", [0.5], "no setting 'lambda1'; it has: margin, proxy_loss, proxy_width"),
    ("arch2vec", "latent", [0, 10**9], WIDTHS),
    ("arch2vec", "kl", [-1.0, NAN, INFINITY], "arch2vec needs a finite kl ≥ 0"),
    ("gmae", "share", [0.0, 1.1, NAN], "GMAE needs a share above 0, at most 1, and replace from 0 to 1"),
    ("gmae", "replace", [-0.1, 1.1], "GMAE needs a share above 0, at most 1, and replace from 0 to 1"),
    ("gmae", "decoder_width", [0, 10**9], WIDTHS),
    (
        "graphcl",
        "augmentations",
        [["edges", "colours"]],
        "unknown augmentation 'colours'; known: edges, operations, no",
    ),
    ("graphcl", "augmentations", [[], "edges"], "GraphCL needs a list of at least one augmentation; known: edges, op"),
    ("graphcl", "share", [-0.1, 1.1], "a share from 0 to 1"),
    ("graphcl", "temperature", [0.0, NAN], "a temperature above 0"),
    ("graphcl", "projection_width", [0, 10**9], WIDTHS),
]
"""A task, one of its settings, invalid values, and the message."""


def make(name, proxies=PROXIES, seed=3, **settings):
    return make_task(name, "nasbench201", ARCHS, proxies, seed, settings)


def test_every_task_is_tested():
    assert tasks() == archflow.tasks() == sorted({task.name for task in VARIANTS.values()}) == sorted(OTHER)
    assert {name: kind.name for name, kind in TASKS.items()} == {name: name for name in tasks()}


# Learning


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_loss_falls(variant, name):
    task = VARIANTS[variant]
    model = new(name, seed=2)
    before = weights_of(model)
    if variant == "gmae" and name in ("mlp", "flat"):
        with pytest.raises(ValueError, match=f"no mask can be added to encoder '{name}'; with replace = 1"):
            run(model, task)
        return
    outcome = run(model, task, epochs=12, lr=5e-3)
    assert (outcome.settings["encoder"], outcome.settings["task"]) == (name, task.name)
    assert outcome.seconds > 0
    assert all(np.isfinite(losses).all() and len(losses) == 12 for losses in outcome.losses.values())
    totals = np.sum(list(outcome.losses.values()), axis=0)
    assert totals[-1] < (0.95 if name == "digcn" else 0.9) * totals[0]
    assert any(not torch.equal(before[key], tensor) for key, tensor in model.state_dict().items())
    assert not any(part.training for part in model.modules())


@pytest.mark.parametrize("name", ["resgatedgcn", "flowerformer"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_half_precision(variant, name):
    types = {key: tensor.dtype for key, tensor in new(name).state_dict().items()}
    outcome = run(model := new(name), VARIANTS[variant], precision="bf16-mixed", epochs=10, lr=5e-3)
    totals = np.sum(list(outcome.losses.values()), axis=0)
    assert totals[-1] < totals[0]
    assert outcome.settings["precision"] == "bf16-mixed"
    assert {key: tensor.dtype for key, tensor in model.state_dict().items()} == types


@pytest.mark.parametrize("name", tasks())
def test_any_directed_acyclic_graphs(name):
    """Of one node, without an inner node, with several inputs, disconnected, or numbered in any order."""
    graphs = [(["input"], []), (["pool", "input", "input"], [(2, 0)]), (["input", "conv", "output"], [])]
    for some in ([graphs[0]] * 3, [(["input", "output"], [(0, 1)])] * 3, graphs, random_graphs(40, 1, max_nodes=12)):
        archs = batch_of(some)
        proxies = np.arange(len(archs), dtype=float)[:, None]
        task = make_task(name, "nasbench201", archs, proxies, 0, {})
        outcome = run(encoder("resgatedgcn", VOCABULARY, hidden=8, layers=2), task, archs, batch_size=2, epochs=2)
        assert all(np.isfinite(losses).all() for losses in outcome.losses.values())


UNNUMBERED = {
    "fgp": {},
    "zero-cost": {},
    "arch2vec": {},
    "gmae": {"share": 1.0, "replace": 0.0},
    "graphcl": {"share": 0.0},
}
"""Settings with which a task draws no random numbers per node; arch2vec's noise is removed below."""


@pytest.mark.parametrize("name", tasks())
def test_the_numbering_of_the_nodes_does_not_matter(name):
    rng = np.random.default_rng(0)
    graphs = [ARCHS.graph(index) for index in range(len(ARCHS))]
    renumbered = ArchBatch.from_graphs([renumber(graph, rng) for graph in graphs], SPACE.vocabulary)
    terms = []
    for archs in (ARCHS, renumbered):
        torch.manual_seed(1)
        objective = make(name, **UNNUMBERED[name]).build(new(), archs)
        if name == "arch2vec":
            torch.nn.init.zeros_(objective.log_variance.weight)
            torch.nn.init.constant_(objective.log_variance.bias, -80.0)
        with torch.no_grad():
            terms.append({key: float(term) for key, term in objective(np.arange(50)[::-1].copy()).items()})
    assert terms[0] == pytest.approx(terms[1], rel=1e-5)


@pytest.mark.parametrize("name", tasks())
def test_the_names_of_inputs_and_outputs_do_not_matter(name):
    """In a vocabulary without such names they are recognised by their position."""
    assert {"input", "output"} < set(SPACE.vocabulary)
    other = [f"operation {number}" for number in range(len(SPACE.vocabulary))]
    archs = ArchBatch(ARCHS.operations, ARCHS.node_offsets, ARCHS.edges, ARCHS.edge_offsets, tuple(other))
    expected, found = new(), new(vocabulary=other)
    outcome = run(expected, make(name))
    assert run(found, make(name), archs).losses == outcome.losses
    assert_equal(found, weights_of(expected))


# Resuming


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_an_interrupted_run_resumes_bit_for_bit_and_depends_on_the_seed_alone(variant, name, tmp_path):
    task, path = VARIANTS[variant], tmp_path / "checkpoint"
    if variant == "gmae" and name in ("mlp", "flat"):
        return
    expected, again, other, resumed = (new(name, seed=2) for _ in range(4))
    outcome = run(expected, task)
    weights = weights_of(expected)
    torch.manual_seed(99)
    assert run(again, task).losses == outcome.losses
    assert_equal(again, weights)
    run(other, task, seed=1)
    assert any(not torch.equal(tensor, weights[key]) for key, tensor in other.state_dict().items())
    with pytest.raises(KeyboardInterrupt):
        run(new(name, seed=2), task, checkpoint=path, progress=InterruptAt(6))
    assert run(resumed, task, checkpoint=path, resume=True).losses == outcome.losses
    assert_equal(resumed, weights)


@pytest.mark.parametrize("name", tasks())
def test_a_checkpoint_is_refused_if_any_setting_differs(name, tmp_path):
    assert set(OTHER[name]) == set(TASKS[name].setting_names())
    path = tmp_path / "checkpoint"
    with pytest.raises(KeyboardInterrupt):
        run(new(), make(name), checkpoint=path, progress=InterruptAt(2))
    before = make(name).describe()
    for setting, value in OTHER[name].items():
        assert json.dumps(before[setting]) != json.dumps(value)
        with pytest.raises(ValueError, match=f"is the checkpoint of another run: .*{setting} was ") as caught:
            run(new(), make(name, **{setting: value}), checkpoint=path, resume=True)
        assert "\n" not in str(caught.value)


# Settings


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_description_can_be_written_down(variant):
    task = VARIANTS[variant]
    described = task.describe()
    assert next(iter(described.items())) == ("task", task.name)
    assert json.loads(json.dumps(described, allow_nan=False)) == described
    assert set(described) >= {field.name for field in fields(task)} - set(task.arrays)
    assert not set(described) & set(task.arrays)


@pytest.mark.parametrize("name", tasks())
def test_settings_are_the_defaults_or_those_given(name):
    kind, data = TASKS[name], {"draw": DRAW, "proxy": PROXIES}
    default = kind(**{field: data[field] for field in kind.arrays})
    found = make(name)
    assert type(found) is kind
    own = {field.name for field in fields(kind)} - set(kind.arrays)
    assert {key: getattr(found, key) for key in own} == {key: getattr(default, key) for key in own}
    for setting, value in OTHER[name].items():
        settings = {setting: value}
        assert make_task(name, "nasbench201", ARCHS, PROXIES, 0, settings).describe()[setting] == value
        assert settings == {setting: value}


@pytest.mark.parametrize("name", tasks())
def test_an_unknown_setting_lists_the_known_ones(name):
    with pytest.raises(ValueError, match=f"^the task {name} has no setting 'luck'; it has: ") as caught:
        make(name, luck=1)
    assert str(caught.value).partition("it has: ")[2].split(", ") == sorted(OTHER[name])


@pytest.mark.parametrize(("name", "setting", "values", "reason"), REFUSED, ids=lambda value: str(value)[:20])
def test_invalid_settings(name, setting, values, reason):
    for value in values:
        with pytest.raises(ValueError, match=reason) as caught:
            make(name, **{setting: value}).build(new(), ARCHS)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", tasks())
def test_settings_of_another_type(name):
    for setting in OTHER[name]:
        for wrong in ([1], {"a": "b" * 10_000}, None, 10**5000):
            if (setting, wrong) in [(unset, None) for unset in ("k", "std", "draw_seed")]:
                continue
            with pytest.raises(ValueError, match=r"\w") as caught:
                make(name, **{setting: wrong}).build(new(), ARCHS)
            assert len(str(caught.value)) < 400
            assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["fgp", "zero-cost"])
@pytest.mark.parametrize(
    ("proxy", "reason"),
    [
        (PROXY[:-1], r"the proxy has shape \(49,\), but there are 50 architectures"),
        (PROXY[None], r"the proxy has shape \(1, 50\)"),
        (np.zeros((50, 2, 2)), r"the proxy has shape \(50, 2, 2\)"),
        (np.stack([PROXY, np.ones(50)], axis=1), "no two different values"),
        (np.ones(50), "no two different values"),
        (np.full(50, np.nan), "no two different values"),
        (np.where(np.arange(50) == 3, 1.0, np.nan), "no two different values"),
    ],
    ids=["short", "row", "cube", "one of two", "constant", "unknown", "one known"],
)
def test_proxies_that_rank_nothing(name, proxy, reason):
    with pytest.raises(ValueError, match=reason):
        run(new(), make(name, proxies=proxy))
