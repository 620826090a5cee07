"""The architecture of a PyTorch module, from one pass on the meta device: no weights are read, no numbers computed.

A :class:`TorchFunctionMode` sees every call of a PyTorch function and which tensors it reads. Unlike a symbolic trace,
the pass is an ordinary one: shapes, loops over layers and conditions on sizes are plain Python. What the meta device
cannot answer is a condition on the *values* of a tensor, which no fixed DAG has.
"""

from __future__ import annotations

import contextlib
import linecache
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from archflow.archs.kinds import Drawing, Graph, canonical, each, kind_of, multiply_accumulates
from archflow.support.reading import reason

_TORCH = str(Path(torch.__file__).parent)
_POINTWISE = "relu relu6 hardswish hardsigmoid silu gelu sigmoid tanh leakyrelu elu mish softplus dropout"
_SAME_SHAPE = frozenset(f"{_POINTWISE} softmax batch_norm layernorm groupnorm".split())
"""Operations whose output is as large as their input, for which PyTorch's own meta functions are slow."""
_ASKS_VALUES = frozenset({"bool", "item", "tolist", "index", "numpy", "nonzero", "masked_select", "unique"})


class Recording(NamedTuple):
    """A module's DAG, and its multiply-accumulates for the example."""

    graph: Graph
    flops: int


class _ValuesAskedError(Exception):
    """Python asked for the values of a tensor that depends on the input."""


class _Recorder(TorchFunctionMode):
    """Draws a node for each call of a PyTorch function that reads a tensor which depends on the input."""

    def __init__(self) -> None:
        super().__init__()
        self.drawing, self.flops = Drawing(), 0
        self.node: dict[int, int] = {}
        """The node that made a tensor, by the tensor's id."""
        self._kept: list[Tensor] = []
        """All these tensors: the id of one that is gone may become another's."""

    def track(self, value: Any, node: int) -> None:
        for tensor in _tensors(value):
            self.node[id(tensor)] = node
            self._kept.append(tensor)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        read = [self.node[id(tensor)] for tensor in _tensors((args, kwargs)) if id(tensor) in self.node]
        if not read:
            return func(*args, **kwargs)
        name = canonical(func.__name__)
        if name in _ASKS_VALUES and (name != "bool" or func is Tensor.__bool__):
            raise _ValuesAskedError
        if name == "cuda" or (name == "to" and "cuda" in map(_device_type, (*args[1:], *kwargs.values()))):
            raise RuntimeError("it moves to a GPU; leave the device to whoever calls it")
        if name.endswith("_like") or name.startswith("new_"):
            return func(*args, **kwargs)
        given, result = args, _quick(name, func, args, kwargs)
        if result is None:
            args, kwargs = _on_meta(args), _on_meta(kwargs)
            result = func(*args, **kwargs)
        changed = given[0] if name == "setitem" or _in_place(func) else None  # which may not be on the meta device
        output = next(_tensors((result, changed)), None)
        if output is not None:
            kind = kind_of(name, args, kwargs, len(set(read)) if name == "cat" else len(read))
            self.flops += multiply_accumulates(name, args, kwargs, output)
            self.track((result, changed), read[0] if kind is None else self.drawing.add(kind, read))
        return result


def recorded(module: nn.Module, example_input: Any, who: str) -> Recording:
    """The DAG of a module.

    Args:
        module: on any device; it is neither changed nor moved.
        example_input: a tensor, or a tuple of what ``forward`` takes; only shapes and types matter.
        who: what messages call the module.

    Raises:
        ValueError: the module cannot be run on the meta device; the message gives the line of its code.
    """
    if not isinstance(module, nn.Module):
        raise ValueError(f"{who} is no torch.nn.Module, but of type {type(module).__name__}")
    given = example_input if isinstance(example_input, tuple) else (example_input,)
    if not any(isinstance(value, Tensor) for value in given):
        raise ValueError(f"the example input must be a tensor or a tuple with one, not {type(example_input).__name__}")
    given = tuple(value.detach().to("meta") if isinstance(value, Tensor) else value for value in given)
    recorder = _Recorder()
    for value in given:
        if isinstance(value, Tensor):
            recorder.track(value, recorder.drawing.add("input"))
    try:
        with _evaluating(module), torch.no_grad(), recorder:
            output = module(*given)
    except _ValuesAskedError as error:
        raise ValueError(
            f"{who}: its forward depends on the values of a tensor{line_of(error)}; decide by shapes instead, or give "
            f"what torch.export makes of it to ArchBatch.from_exported"
        ) from None
    except Exception as error:
        raise ValueError(f"{who} cannot be run without values: {reason(error)}{line_of(error)}") from None
    nodes = [recorder.node[id(tensor)] for tensor in _tensors(output) if id(tensor) in recorder.node]
    return Recording(recorder.drawing.graph(nodes, who), recorder.flops)


def graphs_of_modules(modules: Iterable[nn.Module], example_input: Any) -> list[Graph]:
    """The DAG of each module; raises what :func:`recorded` does."""
    return [recorded(module, example_input, f"model {number}").graph for number, module in enumerate(modules)]


def line_of(error: BaseException) -> str:
    """Where in code outside PyTorch and this file an error arose, in brackets; "" if nowhere."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(_TORCH) and frame.filename != __file__
    ]
    if not frames or not frames[-1].lineno:
        return ""
    file, line = frames[-1].filename, frames[-1].lineno
    return f" ({Path(file).name}, line {line}: {linecache.getline(file, line).strip()[:80]})"


@contextlib.contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """The module as in evaluation, and as it was on exit."""
    training = [part for part in module.modules() if part.training]
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors in arguments or results, however nested."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            if isinstance(part, Tensor):
                yield part
            elif isinstance(part, list | tuple | dict):
                yield from _tensors(part)
    elif isinstance(value, dict):
        yield from _tensors(tuple(value.values()))


def _on_meta(value: Any) -> Any:
    """The same arguments with tensors on the meta device; those there already stay the same objects."""
    if isinstance(value, Tensor):
        return value if value.is_meta else value.to("meta")
    if type(value) in (list, tuple):
        return type(value)(_on_meta(part) for part in value)
    if type(value) is dict:
        return {name: _on_meta(part) for name, part in value.items()}
    return value


def _quick(name: str, func: Any, args: Any, kwargs: dict[str, Any]) -> Tensor | None:
    """The output of common operations, or None where PyTorch is to find its shape."""
    read = args[0] if args and isinstance(args[0], Tensor) else None
    if read is None:
        return None
    if name in _SAME_SHAPE:
        in_place = kwargs.get("inplace") or (len(args) > 1 and args[-1] is True) or _in_place(func)
        return read if in_place else _empty(read.shape, read)
    if name in ("add", "mul") and len(args) == 2 and isinstance(args[1], Tensor) and args[1].shape == read.shape:
        return read if _in_place(func) else _empty(read.shape, read)
    if name == "linear" and len(args) > 1 and read.shape[-1] == args[1].shape[1]:
        return _empty((*read.shape[:-1], args[1].shape[0]), read)
    if name == "adaptive_avg_pool2d" and not kwargs and args[1:] in ((1,), ((1, 1),)):
        return _empty((*read.shape[:-2], 1, 1), read)
    if name == "conv2d" and not kwargs and len(args) == 7 and read.dim() == 4 and not isinstance(args[4], str):
        weight = args[1].shape
        if read.shape[1] != weight[1] * args[6]:
            return None
        sides = [
            (side + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
            for side, kernel, stride, padding, dilation in zip(
                read.shape[2:], weight[2:], *(each(args[place], 2) for place in (3, 4, 5)), strict=True
            )
        ]
        return _empty((read.shape[0], weight[0], *sides), read) if min(sides) > 0 else None
    return None


def _empty(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Faster on the meta device than ``new_empty`` and ``empty_like``, which are Python there."""
    return torch.empty(shape, dtype=like.dtype, device="meta")


def _in_place(func: Any) -> bool:
    name: str = func.__name__
    return (name.endswith("_") and not name.endswith("__")) or name.startswith("__i")


def _device_type(value: Any) -> str:
    return str(value).partition(":")[0] if isinstance(value, str | torch.device) else ""
