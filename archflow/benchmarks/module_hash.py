"""The hash by which NAS-Bench-101 and NAS-Bench-ASR identify the network of a cell."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import md5


def module_hash(labels: Sequence[str], reads: Sequence[Sequence[int]], readers: Sequence[Sequence[int]]) -> str:
    """Weisfeiler–Leman refinement of a graph's labels with MD5, as 32 hexadecimal digits.

    Each vertex starts with the hash of its label. In each of as many rounds as there are vertices, it takes the hash of
    three: the hashes of the vertices it reads, those of the vertices that read it, and its own. The graph's hash is the
    hash of all of these, sorted.

    Args:
        labels: one for each vertex.
        reads: for each vertex, the vertices that it reads.
        readers: for each vertex, the vertices that read it.
    """
    vertices = range(len(labels))
    hashes = [_md5(label) for label in labels]
    for _ in vertices:
        of = hashes.__getitem__
        hashes = [
            _md5(f"{''.join(sorted(map(of, reads[v])))}|{''.join(sorted(map(of, readers[v])))}|{hashes[v]}")
            for v in vertices
        ]
    return _md5(str(sorted(hashes)))


def _md5(text: str) -> str:
    return md5(text.encode(), usedforsecurity=False).hexdigest()
