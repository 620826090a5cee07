"""Ragged equals the same with Python's lists."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from archflow.archs.ragged import Ragged, grouped, inverse, numbered, offsets_of, owner, positions

LISTS = st.integers(1, 8).flatmap(
    lambda n: st.lists(st.lists(st.integers(0, n - 1), max_size=5), min_size=n, max_size=n)
)
"""Lists that contain numbers of lists."""
seeds = st.integers(0, 2**32 - 1)


def ragged(lists):
    return Ragged(np.array([value for each in lists for value in each], np.int64), offsets_of([*map(len, lists)]))


def plain(found):
    return [part.tolist() for part in np.split(np.asarray(found.values), np.asarray(found.offsets)[1:-1])]


@given(LISTS, LISTS, seeds)
def test_lists(lists, others, seed):
    rng, n = np.random.default_rng(seed), len(lists)
    found = ragged(lists)
    assert plain(found) == lists
    assert len(found) == n
    assert found.counts.tolist() == found.to("cpu").counts.tolist() == [*map(len, lists)]
    rows, names = rng.integers(n, size=4), rng.integers(100, size=n)
    assert plain(found.take(rows)) == [lists[row] for row in rows]
    assert plain(found.take(rows, names)) == [[names[value] for value in lists[row]] for row in rows]
    start, stop = sorted(rng.integers(n + 1, size=2).tolist())
    if start < stop:
        assert plain(found.part(slice(start, stop))) == lists[start:stop]
        assert plain(found.to("cpu").part(slice(start, stop))) == lists[start:stop]
    assert plain(found.reversed()) == [[i for i in range(n) for each in lists[i] if each == v] for v in range(n)]
    assert plain(found.with_self()) == [[i, *each] for i, each in enumerate(lists)]
    others = (others * n)[:n]
    assert plain(found.followed_by(ragged(others))) == [a + b for a, b in zip(lists, others, strict=True)]
    flat, offsets = positions(found.offsets, rows)
    assert found.values[flat].tolist() == [value for row in rows for value in lists[row]]
    assert np.diff(offsets).tolist() == [len(lists[row]) for row in rows]
    for position in range(len(found.values)):
        assert position in range(*found.offsets[owner(found.offsets, position) :][:2])


@given(LISTS, seeds)
def test_sums_and_means(lists, seed):
    found, x = ragged(lists), torch.randn(len(lists), 3, generator=torch.Generator().manual_seed(seed)).double()
    sums = torch.stack([x[each].sum(0) for each in lists])
    torch.testing.assert_close(found.to("cpu").sum(x), sums)
    torch.testing.assert_close(found.to("cpu").mean(x), sums / torch.tensor([[max(1, len(each))] for each in lists]))
    large = np.random.default_rng(seed).integers(2**64, size=len(lists), dtype=np.uint64)
    assert found.sum(large).tolist() == [sum(int(large[value]) for value in each) % 2**64 for each in lists]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_grouped_positions(keys):
    order, offsets = grouped(np.array(keys), 6)
    assert plain(Ragged(order, offsets)) == [[i for i, each in enumerate(keys) if each == key] for key in range(6)]
    assert inverse(order)[order].tolist() == list(range(len(keys)))


@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 5), min_size=1, max_size=60))
def test_distinct_keys_are_numbered_by_first_appearance(keys):
    numbers, firsts = numbered(np.array(keys, dtype=np.uint64))
    assert firsts.tolist() == [keys.index(key) for key in dict.fromkeys(keys)]
    assert numbers.tolist() == [list(dict.fromkeys(keys)).index(key) for key in keys]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
def test_a_gpu_gives_the_same():
    found, x = ragged([[1, 1, 2], [], [0]]), torch.arange(6.0).view(3, 2)
    assert torch.equal(found.to("cuda").sum(x.cuda()).cpu(), found.to("cpu").sum(x))
