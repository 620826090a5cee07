"""The hash by which NAS-Bench-101 and NAS-Bench-ASR call the network of a cell."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import md5


def module_hash(labels: Sequence[str], reads: Sequence[Sequence[int]], readers: Sequence[Sequence[int]]) -> str:
    """Weisfeiler and Leman's refinement of a graph's labels with MD5, as 32 hexadecimal digits.

    Each vertex starts with the hash of its label. As many times as there are vertices, its hash becomes that of the
    hashes of the vertices it reads, of those that read it, and of its own. The graph's is the hash of all.

    Args:
        labels: of each vertex.
        reads: for each vertex those that it reads.
        readers: for each vertex those that read it.
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
