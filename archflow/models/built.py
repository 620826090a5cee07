"""One model of a function, built and recorded on the meta device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from archflow.archs.kinds import Graph
from archflow.archs.recorded import line_of, recorded
from archflow.models.choices import Choices, QuestionError
from archflow.support.reading import reason

Build = Callable[[Choices], nn.Module]

_FILLS = frozenset({
    *("normal_", "uniform_", "fill_", "zero_", "copy_", "erfinv_", "mul_", "add_", "sub_", "div_", "clamp_"),
    *("kaiming_uniform_", "kaiming_normal_", "constant_"),
})  # fmt: skip


class Built(NamedTuple):
    """What is known of a model.

    Attributes:
        row: the position of the chosen option for each question, -1 where it was not asked.
        graph: its DAG.
        parameters: how many it trains.
        flops: its multiply-accumulates.
        failure: why it could not be built, "" if it could.
    """

    row: tuple[int, ...]
    graph: Graph = ([], [])
    parameters: int = 0
    flops: int = 0
    failure: str = ""

    @property
    def key(self) -> tuple[int, ...]:
        """The row with the first option where a question was not asked."""
        return tuple(max(choice, 0) for choice in self.row)


def built_model(build: Build, example_input: Any, choices: Choices) -> Built:
    """Build a model on the meta device, and record it; where that fails, why.

    Raises:
        QuestionError: the function asks for what cannot be asked for.
    """
    try:
        with torch.device("meta"), _Unfilled():
            module = build(choices)
        if not isinstance(module, nn.Module):
            raise ValueError(f"the function returns no torch.nn.Module, but {type(module).__name__}")
        elsewhere = {each.device.type for each in module.parameters()} - {"meta", "cpu"}
        if elsewhere:
            raise ValueError(f"the model is on the device {elsewhere.pop()}; return it where it is made")
        graph, flops = recorded(module, example_input, "the model")
    except QuestionError:
        raise
    except Exception as error:
        why = f"{reason(error)}{'' if isinstance(error, ValueError) else line_of(error)}"
        if "cuda" in why.lower():
            why += "; models are built on the meta device: move none to a GPU"
        return Built((), failure=why)
    parameters = sum(each.numel() for each in module.parameters() if each.requires_grad)
    return Built((), graph, parameters, flops)


class _Unfilled(TorchFunctionMode):
    """Leaves tensors of the meta device as they are where they would be filled: they hold nothing."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.__name__ in _FILLS:
            tensor = args[0] if args else kwargs.get("tensor")
            if isinstance(tensor, Tensor) and tensor.is_meta:
                return tensor
        return func(*args, **kwargs)
