"""The architecture of an ONNX file, whose weights are not looked at."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from archflow.archs.kinds import ARITHMETIC, FOLDED, Drawing, Graph, canonical, convolution, pooling
from archflow.support.reading import read_regular, reason

_MOST = 2 << 30
"""Bytes of a file: a message of Protocol Buffers has no more, larger models keep their weights beside it."""

_MOVED = """
    batchnormalization cast castlike depthtospace spacetodepth gather gathernd expand quantizelinear
    dequantizelinear trilu where scatternd sequenceat splittosequence
"""
_FOLDED = FOLDED | frozenset(_MOVED.split())
_ALIASES = {
    "globalaveragepool": "globalpool",
    "globalmaxpool": "globalmaxpool",
    "reducemean": "globalpool",
    "sum": "add",
    "layernormalization": "layernorm",
    "groupnormalization": "groupnorm",
    "instancenormalization": "instancenorm",
    "rmsnormalization": "rmsnorm",
    "gemm": "linear",
    "resize": "interpolate",
    "clip": "relu6",
    "logsoftmax": "softmax",
    "max": "maximum",
    "reducemax": "amax",
    "reducesum": "sum",
}


def graphs_of_files(paths: Iterable[str | Path]) -> list[Graph]:
    """The DAG of each file.

    Raises:
        OSError: a file cannot be read.
        ValueError: it is truncated, no ONNX file, of more than 2 GiB, or names data outside its folder.
        ImportError: the package ``onnx`` is not installed.
    """
    return [_graph(Path(path)) for path in paths]


def _graph(path: Path) -> Graph:
    content = read_regular(path, _MOST)
    try:
        import onnx
    except ImportError:
        raise ImportError("reading ONNX files needs the package onnx: pip install 'archflow[onnx]'") from None
    try:
        model = onnx.load_model_from_string(content)
        if model.functions:
            import onnx.inliner

            model = onnx.inliner.inline_local_functions(model)
    except Exception as error:  # protobuf's error has no public class
        raise ValueError(f"{path} is truncated or no ONNX file ({reason(error)})") from None
    graph = model.graph
    if not graph.node or not graph.output:
        raise ValueError(f"{path} is truncated or no ONNX file: its graph is empty")
    constants = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for tensor in graph.initializer:
        _require_inside(path, tensor)
    drawing = Drawing()
    number = {value.name: drawing.add("input") for value in graph.input if value.name not in constants}
    made = {*number, *constants, ""}
    for node in graph.node:
        missing = [name for name in node.input if name not in made]
        if missing:
            raise ValueError(f"{path} is damaged: node {node.name!r} reads {missing[0]!r}, which nothing makes")
        made.update(node.output)
        if node.op_type == "Constant":
            constants |= {
                name: tuple(each.t.dims) for name in node.output for each in node.attribute if each.name == "value"
            }
        read = [number[name] for name in node.input if name in number]
        if not read or node.op_type in ("Shape", "Size"):
            continue
        kind = _kind(node, constants, len(read))
        place = read[0] if kind is None else drawing.add(kind, read)
        number |= dict.fromkeys(node.output, place)
    return drawing.graph([number[value.name] for value in graph.output if value.name in number], str(path))


def _kind(node: Any, constants: dict[str, tuple[int, ...]], operands: int) -> str | None:
    name = node.op_type.lower()
    attributes: dict[str, Any] = {each.name: list(each.ints) or each.i for each in node.attribute}
    if name in _FOLDED or canonical(name) in FOLDED:
        return None
    name = _ALIASES.get(name, name)
    if name in ARITHMETIC:
        return ARITHMETIC[name] if operands > 1 else None
    if name == "concat":
        return "concat" if operands > 1 else None
    if name in ("conv", "convtranspose"):
        weight = constants.get(node.input[1], ())
        kernel = attributes.get("kernel_shape") or weight[2:]
        groups, transposed = attributes.get("group", 1), name == "convtranspose"
        channels = (weight[0] if transposed else weight[1] * groups) if weight else 0
        strides, dilations = attributes.get("strides", 1), attributes.get("dilations", 1)
        return convolution(kernel, strides, dilations, groups, channels, transposed)
    if name in ("maxpool", "averagepool"):
        kernel = attributes.get("kernel_shape", [])
        return pooling("maxpool" if name == "maxpool" else "avgpool", kernel, attributes.get("strides", 1))
    if name in ("matmul", "linear", "einsum"):
        return "linear" if operands == 1 else "matmul"
    return name


def _require_inside(path: Path, tensor: Any) -> None:
    """Raise ValueError if a tensor's data lies outside the folder of the file."""
    for entry in tensor.external_data:
        if entry.key == "location":
            folder = path.resolve().parent
            if not (folder / entry.value).resolve().is_relative_to(folder):
                raise ValueError(f"{path} names data outside its folder ({entry.value[:100]!r}); it is not read")
