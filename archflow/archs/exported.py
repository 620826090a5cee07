"""The architecture of a program from ``torch.export``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import fx

from archflow.archs.kinds import Drawing, Graph, canonical, kind_of
from archflow.support.reading import expecting


def graphs_of_programs(programs: Iterable[Any]) -> list[Graph]:
    """The DAG of each program.

    Raises:
        ValueError: one is no program of ``torch.export``.
    """
    graphs = []
    for number, program in enumerate(programs):
        if not isinstance(program, torch.export.ExportedProgram):
            raise ValueError(f"program {number} is no ExportedProgram of torch.export, but {type(program).__name__}")
        with expecting(f"program {number}"):
            graphs.append(_graph(program, f"program {number}"))
    return graphs


def _graph(program: torch.export.ExportedProgram, who: str) -> Graph:
    drawing, number = Drawing(), dict[fx.Node, int]()
    inputs = set(program.graph_signature.user_inputs)
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in inputs:
            number[node] = drawing.add("input")
        elif node.op == "call_function":
            read = [number[each] for each in node.all_input_nodes if each in number]
            # all_input_nodes names each once, but x * x reads x twice.
            operands = sum(each in number for each in _nodes((node.args, node.kwargs)))
            if read:
                name = canonical(getattr(node.target, "_opname", node.target.__name__))
                kind = kind_of(name, _values(node.args), _values(node.kwargs), len(read) if name == "cat" else operands)
                if name == "linear" and operands > 1 and len(node.args) == 3 and node.target._opname == "addmm":
                    kind = "matmul"
                number[node] = read[0] if kind is None else drawing.add(kind, read)
        elif node.op == "output":
            return drawing.graph([number[each] for each in node.all_input_nodes if each in number], who)
    raise ValueError(f"{who} has no output")


def _nodes(value: Any) -> list[fx.Node]:
    found: list[fx.Node] = []
    fx.map_arg(value, found.append)
    return found


def _values(arguments: Any) -> Any:
    """The arguments of a call, with the tensors that nodes stand for."""
    return fx.map_arg(arguments, lambda node: node.meta.get("val"))
