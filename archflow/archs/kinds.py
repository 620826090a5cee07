"""What the operations of a model are called, and which of them are none.

A name says the kind and the attributes that make another operation of it: ``conv3x3``, ``conv3x3/2`` (stride),
``dwconv3x3`` (depthwise), ``conv3x3g32`` (groups), ``conv3x3d2`` (dilation), ``maxpool3x3/2``, ``linear``, ``relu``.
Channels are no part of it: they are sizes, not kinds.

Left out, with an edge from what they read to what reads them, are

* what moves numbers and changes none: reshape, flatten, transpose, slices, padding, casts, dropout (models are read as
  in evaluation);
* arithmetic with constants and parameters, such as position embeddings and scales;
* batch norm: at inference it is an affine map that every exporter multiplies into the convolution before it, so only
  without it a module and its ONNX file are one architecture. Norms that are computed from the input (layer, group,
  instance) stay, and so do activations, which are choices of their own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import chain
from math import prod
from typing import Any

Graph = tuple[list[str], list[tuple[int, int]]]

OTHER = "other"
"""Stands for operations that a given vocabulary lacks."""

_MOVED = """
    alias identity dropout dropout1d dropout2d dropout3d alpha_dropout feature_dropout feature_alpha_dropout
    stochastic_depth reshape view view_as reshape_as flatten unflatten ravel permute transpose t swapaxes
    swapdims movedim contiguous clone detach expand expand_as squeeze unsqueeze getitem chunk split
    split_with_sizes unbind tensor_split select slice narrow to to_copy type type_as float double half
    bfloat16 int long bool pad constant_pad_nd get requires_grad lift_fresh repeat tile unsafe_view as_strided
    copy assert_tensor_metadata repeat_interleave flip roll nan_to_num masked_fill meshgrid broadcast_to
    broadcast_tensors set real imag view_as_real view_as_complex
"""
_BATCH_NORMS = "batch_norm native_batch_norm cudnn_batch_norm native_batch_norm_legit_no_training"
FOLDED = frozenset(f"{_MOVED} {_BATCH_NORMS}".split())
"""Operations that move numbers and change none, and batch norm."""

ARITHMETIC = {"add": "add", "sub": "add", "mul": "mul", "div": "mul", "rsub": "add", "setitem": "add"}
"""Arithmetic, which counts where both operands depend on the input; a difference is a sum, and a quotient a product."""

_ALIASES = {
    **{f"{side}{name}": name for side in "ri" for name in ("add", "sub", "mul", "matmul")},
    **dict.fromkeys(("truediv", "rtruediv", "itruediv", "true_divide", "floor_divide", "divide"), "div"),
    "subtract": "sub",
    "multiply": "mul",
    "concat": "cat",
    "concatenate": "cat",
    "stack": "cat",
    "max_pool2d_with_indices": "max_pool2d",
    "native_layer_norm": "layernorm",
    "native_group_norm": "groupnorm",
    "mm": "matmul",
    "bmm": "matmul",
    "baddbmm": "matmul",
    "mv": "matmul",
    "dot": "matmul",
    "einsum": "matmul",
    "multi_head_attention_forward": "attention",
    "scaled_dot_product_attention": "attention",
    "addmm": "linear",
    "swish": "silu",
    "hardtanh": "relu6",
    "log_softmax": "softmax",
    "safe_softmax": "softmax",
    "upsample": "interpolate",
    "upsample_nearest2d": "interpolate",
    "upsample_bilinear2d": "interpolate",
    "rms_norm": "rmsnorm",
    "layer_norm": "layernorm",
    "group_norm": "groupnorm",
    "instance_norm": "instancenorm",
    "leaky_relu": "leakyrelu",
}


def canonical(name: str) -> str:
    """The name of a PyTorch function or ATen operation without its marks of in-place and of operators."""
    name = name.strip("_")
    return _ALIASES.get(name, name)


def kind_of(name: str, args: Sequence[Any], kwargs: dict[str, Any], operands: int) -> str | None:
    """What a call is called, or None if it is left out.

    Args:
        name: of the function, see :func:`canonical`.
        args: its arguments in the order of ``torch.nn.functional`` and ATen; tensors have at least a ``shape``.
        kwargs: its further arguments by name.
        operands: how many of its tensors depend on the input.
    """
    if name in FOLDED:
        return None
    if name in ARITHMETIC:
        return ARITHMETIC[name] if operands > 1 else None
    if name == "cat":
        return "concat" if operands > 1 else None

    def argument(place: int, key: str, default: Any = None) -> Any:
        return args[place] if len(args) > place else kwargs.get(key, default)

    if name.startswith(("conv", "mkldnn_conv")):
        weight = tuple(argument(1, "weight").shape)
        transposed = "transpose" in name
        if name == "convolution":
            stride, dilation, transposed, groups = args[3], args[5], args[6], args[8]
        elif transposed:
            stride, groups, dilation = argument(3, "stride", 1), argument(6, "groups", 1), argument(7, "dilation", 1)
        else:
            stride, dilation, groups = argument(3, "stride", 1), argument(5, "dilation", 1), argument(6, "groups", 1)
        return convolution(weight[2:], stride, dilation, groups, weight[0 if transposed else 1] * groups, transposed)
    if name == "linear":
        return "linear"
    if name == "matmul":
        return "matmul" if operands > 1 else "linear"
    if "adaptive" in name and "pool" in name:
        size = argument(1, "output_size", 1)
        sizes = size if isinstance(size, list | tuple) else [size]
        return ("globalmaxpool" if "max" in name else "globalpool") + ("" if set(sizes) == {1} else times(sizes))
    if name.startswith(("max_pool", "avg_pool")):
        dimensions = int(name[8])
        kernel = each(argument(1, "kernel_size"), dimensions)
        return pooling(name.replace("_", "")[:7], kernel, argument(2, "stride") or kernel)
    if name == "mean":
        dims, rank = argument(1, "dim"), len(args[0].shape)
        dims = {d % rank for d in ([dims] if isinstance(dims, int) else dims or range(rank))}
        return "globalpool" if rank in (3, 4) and rank - 2 in dims else "mean"
    return name


def convolution(kernel: Sequence[int], stride: Any, dilation: Any, groups: int, channels: int, transposed: bool) -> str:
    """The name of a convolution of so many input channels."""
    kernel = tuple(kernel)
    depthwise = groups > 1 and groups == channels
    name = f"{'dw' if depthwise else ''}{'up' if transposed else ''}conv{times(kernel)}"
    if groups > 1 and not depthwise:
        name += f"g{groups}"
    if max(each(dilation, 1)) > 1:
        name += f"d{max(each(dilation, 1))}"
    return name + _stride(stride)


def pooling(name: str, kernel: Sequence[int], stride: Any) -> str:
    """The name of a pooling."""
    return f"{name}{times(kernel)}{_stride(stride)}"


def each(value: Any, dimensions: int) -> tuple[int, ...]:
    """A number for each dimension, from one or as many."""
    values = tuple(value) if isinstance(value, list | tuple) else (value,)
    return values * dimensions if len(values) == 1 else values


def times(sizes: Iterable[int]) -> str:
    """Sizes as in "3x3"."""
    return "x".join(map(str, sizes))


def _stride(stride: Any) -> str:
    strides = each(stride, 1)
    if not strides or max(strides) == 1:
        return ""
    return f"/{strides[0]}" if len(set(strides)) == 1 else f"/{times(strides)}"


class Drawing:
    """A DAG while it is drawn, a node after those that it reads."""

    def __init__(self) -> None:
        self.kinds: list[str] = []
        self.reads: list[list[int]] = []

    def add(self, kind: str, reads: Iterable[int] = ()) -> int:
        """The number of a new node."""
        self.kinds.append(kind)
        self.reads.append(list(dict.fromkeys(reads)))
        return len(self.kinds) - 1

    def graph(self, outputs: Iterable[int], who: str) -> Graph:
        """The nodes that lead to the outputs, and one more that reads these.

        Raises:
            ValueError: no output depends on the input.
        """
        outputs = list(dict.fromkeys(outputs))
        if not outputs:
            raise ValueError(
                f"{who}: its output does not depend on its input through PyTorch's functions; a scripted or compiled "
                f"part cannot be looked into: use the plain module"
            )
        needed, open_ = set(outputs), list(outputs)
        while open_:
            for node in self.reads[open_.pop()]:
                if node not in needed:
                    needed.add(node)
                    open_.append(node)
        order = sorted(needed)
        number = {node: place for place, node in enumerate(order)}
        edges = [(number[source], number[node]) for node in order for source in self.reads[node]]
        edges += [(number[node], len(order)) for node in outputs]
        return [*(self.kinds[node] for node in order), "output"], edges


def with_vocabulary(graphs: list[Graph], vocabulary: Sequence[str] | None) -> tuple[list[Graph], tuple[str, ...]]:
    """The graphs over a vocabulary: the given one, in which unknown kinds are "other", or the one found by looking.

    Raises:
        ValueError: the given vocabulary lacks "other", and an architecture needs it.
    """
    found = set(chain.from_iterable(names for names, _ in graphs))
    if vocabulary is None:
        return graphs, ("input", *sorted(found - {"input", "output", OTHER}), OTHER, "output")
    known = frozenset(vocabulary)
    unknown = sorted(found - known)
    if unknown and OTHER not in known:
        raise ValueError(
            f"the vocabulary lacks {', '.join(unknown[:5])}; add '{OTHER}' to it, which stands for all that it lacks"
        )
    return [(renamed(names, known), edges) for names, edges in graphs], tuple(vocabulary)


def renamed(names: Iterable[str], known: Collection[str]) -> list[str]:
    """The names, "other" in place of unknown ones."""
    return [name if name in known else OTHER for name in names]


def multiply_accumulates(name: str, args: Sequence[Any], kwargs: dict[str, Any], output: Any) -> int:
    """Multiply-accumulates of convolutions, linear layers, matrix products and attention; 0 for all else."""
    args = [*args, *(kwargs[key] for key in ("input", "weight", "query", "key", "value") if key in kwargs)]
    if name.startswith("conv"):
        weight, read = args[1].shape, prod(args[0].shape)
        return (read if "transpose" in name else prod(output.shape)) * prod(weight[1:])
    if name == "linear":
        return prod(output.shape) * args[1].shape[-1]
    if name == "matmul" and len(args) > 1 and hasattr(args[0], "shape"):
        return prod(output.shape) * args[0].shape[-1]
    if name == "matmul" and isinstance(args[0], str):
        operands = args[1] if len(args) == 2 and isinstance(args[1], list | tuple) else args[1:]
        letters = args[0].replace(" ", "").partition("->")[0].split(",")
        sizes = {letter: size for part, each in zip(letters, operands, strict=False)
                 for letter, size in zip(part, each.shape, strict=False)}  # fmt: skip
        return prod(sizes.values())
    if name == "attention":
        *batch, queries, width = args[0].shape
        if len(args) > 5:  # with projections: (tokens, batch, width)
            queries, batch = args[0].shape[0], list(args[0].shape[1:-1])
            keys = args[1].shape[0]
            return prod(batch) * (2 * (queries + keys) * width * width + 2 * queries * keys * width)
        keys = args[1].shape[-2]
        return prod(batch) * queries * keys * (width + args[2].shape[-1])
    if name in ("lstm", "gru", "rnn_tanh", "rnn_relu") and isinstance(args[2], list):
        return prod(args[0].shape[:-1]) * sum(prod(weight.shape) for weight in args[2] if len(weight.shape) == 2)
    return 0
