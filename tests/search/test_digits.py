import dataclasses
import sys

import numpy as np
import pytest
import torch

import archflow
from archflow.search.digits import Digits, DigitsSettings
from archflow.search.digits import _digits as read_digits

pytest.importorskip("sklearn", reason="the digits come with scikit-learn")

SPACE = archflow.space("nasbench201")
GOOD = "|nor_conv_3x3~0|+|skip_connect~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_1x1~1|nor_conv_1x1~2|"
EMPTY = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"


def reported(digits, architecture):
    reports = []
    score = digits(architecture, lambda epoch, accuracy: reports.append((epoch, accuracy)))
    return score, reports


def test_a_network_learns_to_read_digits():
    digits = Digits(SPACE)
    score, reports = reported(digits, GOOD)
    assert [epoch for epoch, _ in reports] == [1, 2, 3]
    assert reports[-1][1] == score > 0.9
    assert digits.test_accuracy(GOOD) > 0.88
    assert digits(EMPTY) < score  # its stem and reductions learn all the same


def test_the_parts_are_disjoint_and_the_seed_draws_them():
    digits, other = Digits(SPACE), Digits(SPACE, seed=1)
    assert {part: len(rows) for part, rows in digits._parts.items()} == {"train": 599, "validation": 599, "test": 599}
    assert sorted(torch.cat(list(digits._parts.values())).tolist()) == list(range(1797))
    assert not torch.equal(digits._parts["test"], other._parts["test"])


def test_a_training_is_determined_by_its_seed_and_leaves_no_trace():
    settings = DigitsSettings(epochs=1)
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    first = Digits(SPACE, 5, settings).train(GOOD).state_dict()
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(99)
    again = Digits(SPACE, 5, settings).train(GOOD).state_dict()
    assert torch.get_num_threads() == threads
    assert all(torch.equal(first[name], again[name]) for name in first)
    other = Digits(SPACE, 6, settings).train(GOOD).state_dict()
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_accuracy_counts_what_is_right():
    digits = Digits(SPACE, settings=DigitsSettings(epochs=1))
    model = digits.train(GOOD)
    images, labels = read_digits()
    rows = digits._parts["test"]
    right = [int(model(images[[row]]).argmax()) == int(labels[row]) for row in rows.tolist()]
    assert digits.accuracy(model, "test") == pytest.approx(np.mean(right))


def test_every_cell_of_nasbench101_fits_the_width():
    space = archflow.space("nasbench101")
    operations = ["input", *["conv1x1-bn-relu"] * 4, "output"]  # as many as nine edges allow
    edges = [(0, vertex) for vertex in range(1, 5)] + [(vertex, 5) for vertex in range(1, 5)]
    arch = archflow.ArchBatch.from_graphs([(operations, edges)], vocabulary=space.vocabulary)
    digits = Digits(space, settings=dataclasses.replace(DigitsSettings(), epochs=1))
    assert 0.1 < digits(space.format(arch)[0]) <= 1


def test_what_report_raises_ends_the_training():
    class Pruned(Exception):
        pass

    def prune(epoch, accuracy):
        assert epoch == 1
        raise Pruned

    threads = torch.get_num_threads()
    digits = Digits(SPACE)
    with pytest.raises(Pruned):
        digits(GOOD, prune)
    assert torch.get_num_threads() == threads


def test_another_space_is_refused():
    with pytest.raises(ValueError, match="nasbench101 and nasbench201, not darts"):
        Digits(archflow.space("darts"))


def test_an_architecture_of_another_space_is_refused():
    with pytest.raises(ValueError, match="line 1"):
        Digits(SPACE)("conv,conv")


def test_without_scikit_learn_one_line_says_what_to_install(monkeypatch):
    read_digits.cache_clear()
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'archflow\[search\]'"):
        Digits(SPACE)
