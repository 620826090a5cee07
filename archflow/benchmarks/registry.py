"""Search spaces: what architectures there are, how they are written, and how large their networks are.

``archflow.space(name)`` returns one, ``archflow.spaces()`` lists the names. To add a space, write an object with the
attributes of :class:`Space` in a file here and name it in ``_SPACES``, or call :func:`register_space` from your code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from jaxtyping import Float, Int, Shaped
from numpy import ndarray

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.darts.space import DARTS
from archflow.benchmarks.nasbench101.space import NASBench101
from archflow.benchmarks.nasbench201.space import NASBench201
from archflow.benchmarks.nasbench_asr.space import NASBenchASR
from archflow.benchmarks.nasbench_graph.space import NASBenchGraph
from archflow.benchmarks.nasbench_macro.space import NASBenchMacro
from archflow.benchmarks.nasbench_nlp.space import NASBenchNLP
from archflow.benchmarks.transnas101.space import TransNASMacro, TransNASMicro
from archflow.support.registry import Registry


class Space(Protocol):
    """What every search space offers."""

    @property
    def name(self) -> str: ...

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Names of the operations, ``input`` and ``output`` among them."""
        ...

    @property
    def flow_defaults(self) -> tuple[int, float]:
        """Width k and standard deviation of the flow surrogate's random vectors (METHOD, "Published")."""
        ...

    @property
    def proxies(self) -> tuple[str, ...]:
        """Names of the zero-cost proxies that need no network; the default targets of pre-training. May be empty."""
        ...

    @property
    def size(self) -> int | None:
        """How many architectures the space has; None where nobody has counted them."""
        ...

    def enumerate(self) -> ArchBatch:
        """Every architecture of the space, always in the same order.

        Raises:
            ValueError: the space is too large to be listed.
        """
        ...

    def sample(self, n: int, seed: int = 0) -> ArchBatch:
        """``n`` different architectures at random, uniformly where the space can be listed or counted."""
        ...

    def keys(self, archs: ArchBatch) -> Shaped[ndarray, " archs"]:
        """A name or number of each network, equal where two architectures denote the same one.

        Raises:
            ValueError: an architecture is not of this space; the message names its index.
        """
        ...

    def mutate(self, archs: ArchBatch, seed: int = 0) -> ArchBatch:
        """For each architecture one that differs from it in a single choice."""
        ...

    def format(self, archs: ArchBatch) -> list[str]:
        """Each architecture in the field's own notation."""
        ...

    def parse(self, strings: Sequence[str], first_line: int = 1) -> ArchBatch:
        """The architectures that the strings denote; a ValueError names the line, counted from ``first_line``."""
        ...

    def parameters(self, archs: ArchBatch) -> Int[ndarray, " archs"]:
        """Trainable parameters of each network."""
        ...

    def proxy(self, name: str, archs: ArchBatch) -> Float[ndarray, " archs"]:
        """One of ``proxies``; the scale means nothing, only the order.

        Raises:
            ValueError: the name is none of ``proxies``.
        """
        ...

    def flops(self, archs: ArchBatch) -> Int[ndarray, " archs"]:
        """Multiply-accumulates of each network for one input, as the benchmark counts them."""
        ...


_SPACES: Registry[Callable[[], Space]] = Registry(
    "space",
    {
        "nasbench101": NASBench101,
        "nasbench201": NASBench201,
        "darts": DARTS,
        "transnas101-micro": TransNASMicro,
        "transnas101-macro": TransNASMacro,
        "nasbench-macro": NASBenchMacro,
        "nasbench-graph": NASBenchGraph,
        "nasbench-graph-proteins": NASBenchGraph.proteins,
        "nasbench-nlp": NASBenchNLP,
        "nasbench-asr": NASBenchASR,
    },
)


def space(name: str) -> Space:
    """The search space of that name.

    Raises:
        ValueError: the name is unknown; the message lists the known ones.
    """
    return _SPACES.find(name, spaces())()


def spaces() -> list[str]:
    """Names that :func:`space` knows."""
    return sorted(_SPACES)


def register_space(name: str, make: Callable[[], Space]) -> None:
    """Make ``space(name)`` return ``make()``, for a space that is not archflow's own.

    Raises:
        ValueError: archflow has a space of that name.
    """
    _SPACES.register(name, make)
