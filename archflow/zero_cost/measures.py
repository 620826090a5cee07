"""Zero-cost proxies: scores of an untrained network from one minibatch.

Settings are those of zero-cost-nas (Abdelfattah et al., ICLR 2021) and NAS-Bench-Suite-Zero (Krishnakumar et al.,
NeurIPS 2022), so that values are comparable with the published ones: batch norm normalises by the minibatch, the loss
is the mean cross entropy, and the *weights* θ are those of convolutions and of the classifier, without biases and
norms. Proxies that need the same forward pass share it:

====================================== ====================================================================
pass                                   proxies
====================================== ====================================================================
none                                   params, flops, l2_norm
forward                                nwot
forward, backward to the images        jacov, epe_nas
forward, backward to the weights       grad_norm, snip, fisher, plain; with a second backward grasp
forward and backward, one image        synflow
two forward passes, other weights      zen
====================================== ====================================================================

A network whose input does not reach its output (NAS-Bench-201 has such cells) is scored like any other, as its
benchmark trains it like any other. Gradients are 0, and so are grad_norm, snip, plain and grasp; fisher keeps the
contribution of the classifier's bias. Logarithms of 0 are −inf (synflow, nwot, zen). The gradients at its images, all
zero, count as identical (jacov, epe_nas). So grad_norm, snip, synflow, nwot, zen and jacov rank it last.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from archflow.benchmarks.network import Network

Values = dict[str, float]


def measure(
    network: Network,
    images: Float[Tensor, "batch 3 height width"],
    labels: Int[Tensor, " batch"],
    names: Iterable[str],
    seed: int = 0,
) -> Values:
    """The named proxies of a network with its present weights, which do not change.

    Args:
        network: on the same device as the images.
        images: one minibatch.
        labels: their classes.
        names: some of ``PROXIES``.
        seed: of the weights and images that zen draws.

    Raises:
        ValueError: an unknown name, or none; the message lists the known ones.
    """
    wanted = dict.fromkeys(names)
    require_known(wanted)
    network.train().requires_grad_()
    passes: list[tuple[frozenset[str], Callable[[], Values]]] = [
        (frozenset({"params", "flops"}), lambda: counts(network, images.shape[-1])),
        (frozenset({"l2_norm"}), lambda: {"l2_norm": l2_norm(network)}),
        (SUPERVISED, lambda: supervised(network, images, labels, wanted)),
        (frozenset({"synflow"}), lambda: {"synflow": synflow(network, images.shape[-1])}),
        (frozenset({"zen"}), lambda: {"zen": zen(network, images, seed)}),
    ]
    found: Values = {}
    for provided, run in passes:
        if provided & wanted.keys():
            found |= run()
    return {name: found[name] for name in wanted}


SUPERVISED = frozenset({"nwot", "jacov", "epe_nas", "grad_norm", "snip", "fisher", "plain", "grasp"})
PROXIES = (
    *("params", "flops", "l2_norm", "grad_norm", "snip", "grasp", "fisher", "synflow", "jacov", "nwot", "zen"),
    *("plain", "epe_nas"),
)
"""Names that :func:`measure` knows."""


def require_known(names: Iterable[str]) -> None:
    """Raise ValueError if a name is not among ``PROXIES``, or if there are no names."""
    names = list(names)
    unknown = [name for name in names if name not in PROXIES]
    if unknown or not names:
        what = f"unknown proxy '{', '.join(unknown)}'" if unknown else "no proxy is named"
        raise ValueError(f"{what}; known proxies: {', '.join(PROXIES)}")


# Without a minibatch


def counts(network: Network, size: int) -> Values:
    """``params``, the trainable parameters, and ``flops``, multiply-accumulates for one image of ``size`` × ``size``.

    Multiply-accumulates are counted as by NASLib (with tensorwatch): convolutions and the classifier without its bias;
    for each output element one of a rectifier, one of a norm or two where it has scale and shift, and k² of a pooling;
    the global average as a pooling with a window larger by one.
    """
    flops, weight = 0, network.classifier.weight

    def count(module: nn.Module, _: object, output: Tensor) -> None:
        nonlocal flops
        if isinstance(module, nn.Conv2d | nn.Linear):
            flops += output.numel() * module.weight[0].numel()
        elif isinstance(module, nn.BatchNorm2d):
            flops += output.numel() * (1 + module.affine)
        elif isinstance(module, nn.ReLU):
            flops += output.numel()
        elif isinstance(module, nn.AvgPool2d | nn.MaxPool2d):
            kernel = module.kernel_size if isinstance(module.kernel_size, int) else module.kernel_size[0]
            flops += output.numel() * kernel**2

    def count_average(_: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        nonlocal flops
        flops += output.numel() * (inputs[0].shape[-2] + 1) * (inputs[0].shape[-1] + 1)

    hooks = [
        module.register_forward_hook(count_average if isinstance(module, nn.AdaptiveAvgPool2d) else count)
        for module in network.modules()
    ]
    network.eval()
    try:
        with torch.no_grad():
            network(weight.new_zeros(1, 3, size, size))
    finally:
        network.train()
        for hook in hooks:
            hook.remove()
    return {"params": sum(weight.numel() for weight in network.parameters()), "flops": flops}


def l2_norm(network: Network) -> float:
    """Sum over layers of ‖θ‖ (Abdelfattah et al., ICLR 2021)."""
    return math.fsum(weight.detach().double().norm().item() for weight in _weights(network))


# From a minibatch with labels


def supervised(
    network: Network, images: Float[Tensor, "batch 3 h w"], labels: Int[Tensor, " batch"], names: Iterable[str]
) -> Values:
    """The named proxies of ``SUPERVISED``, from one forward pass and as few backward passes as they need.

    With L the loss, g = ∂L/∂θ and H its Hessian, sums over all weights:

    * ``grad_norm``: the sum over layers of ‖g‖ (Abdelfattah et al., ICLR 2021);
    * ``snip``: Σ |θ g| (Lee et al., ICLR 2019, equation 4);
    * ``plain``: Σ θ g (Abdelfattah et al., ICLR 2021);
    * ``grasp``: −Σ θ (H g) (Wang et al., ICLR 2020, equation 8);
    * ``fisher``: Σ over channels of ½ mean over images of (Σ over pixels of a ∂L/∂a)², a the output of a convolution or
      of the classifier, each channel as often as it has weights (Turner et al., ICLR 2020, equation 3).

    The others are those of :func:`nwot`, :func:`jacov` and :func:`epe_nas`.
    """
    wanted = set(names) & SUPERVISED
    of_images, of_weights = wanted & {"jacov", "epe_nas"}, wanted & {"grad_norm", "snip", "plain", "fisher", "grasp"}
    values: Values = {}
    fisher, codes, hooks = Fisher(), Codes(len(images), images.device), []
    for module in network.modules():
        if "fisher" in wanted and isinstance(module, nn.Conv2d | nn.Linear):
            hooks.append(module.register_forward_hook(fisher))
        if "nwot" in wanted and isinstance(module, nn.ReLU):
            hooks.append(module.register_forward_hook(codes))
    weights = _weights(network)
    images = images.detach().requires_grad_(bool(of_images))
    try:
        with torch.set_grad_enabled(bool(of_images | of_weights)):
            logits = network(images)
        if "nwot" in wanted:
            values["nwot"] = nwot(codes.agreements)
        if of_images:
            (gradient,) = torch.autograd.grad(
                logits.sum(), images, retain_graph=bool(of_weights), materialize_grads=True
            )
            jacobian = gradient.flatten(1).double().cpu().numpy()
            values["jacov"] = jacov(jacobian)
            values["epe_nas"] = epe_nas(jacobian, labels.cpu().numpy())
        if of_weights:
            fisher.listening = True  # only now, as the backward pass for jacov is not that of the loss
            loss = cross_entropy(logits, labels)
            gradients = torch.autograd.grad(loss, weights, create_graph="grasp" in wanted, materialize_grads=True)
            fisher.listening = False
            pairs = [(w.detach().double(), g.detach().double()) for w, g in zip(weights, gradients, strict=True)]
            values["grad_norm"] = math.fsum(g.norm().item() for _, g in pairs)
            values["snip"] = math.fsum((w * g).abs().sum().item() for w, g in pairs)
            values["plain"] = math.fsum((w * g).sum().item() for w, g in pairs)
            values["fisher"] = fisher.total
            if "grasp" in wanted:
                values["grasp"] = _grasp(weights, gradients)
    finally:
        for hook in hooks:
            hook.remove()
    return values


def _grasp(weights: list[Tensor], gradients: tuple[Tensor, ...]) -> float:
    """−Σ θ (H g): the derivative of ½ gᵀ g is H g."""
    along = torch.stack([(g.detach() * g).sum() for g in gradients]).sum()
    if not along.requires_grad:  # nothing reaches the output
        return 0.0
    curved = torch.autograd.grad(along, weights, materialize_grads=True)
    return -math.fsum((w.detach().double() * c.double()).sum().item() for w, c in zip(weights, curved, strict=True))


class Fisher:
    """Sums the Fisher information of every layer's channels during the backward pass; see :func:`supervised`."""

    def __init__(self) -> None:
        self.total, self.listening = 0.0, False

    def __call__(self, layer: nn.Conv2d | nn.Linear, _: object, output: Tensor) -> None:
        """Wait for the gradient of a layer's output."""

        def add(gradient: Tensor) -> None:
            if self.listening:
                gate = (kept * gradient.detach()).flatten(2).sum(-1) if kept.dim() > 2 else kept * gradient.detach()
                self.total += 0.5 * gate.double().square().mean(0).sum().item() * layer.weight[0].numel()

        if output.requires_grad:
            kept = output.detach()
            output.register_hook(add)


class Codes:
    """Counts, for each pair of images, the rectifiers that are open for both or closed for both."""

    def __init__(self, batch: int, device: torch.device) -> None:
        self.agreements = torch.zeros(batch, batch, device=device)

    def __call__(self, _: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        """Count the agreements in a rectifier's input."""
        code = inputs[0].detach().flatten(1).gt(0).float()
        # (1 − a)(1 − b) + a b = 1 − a − b + 2 a b, which needs one matrix product instead of two.
        opened = code.sum(1)
        self.agreements += code.shape[1] - opened[:, None] - opened + 2 * code @ code.t()


def nwot(agreements: Float[Tensor, "batch batch"]) -> float:
    """Log |det K|, K counting the rectifiers in which two images agree (Mellor et al., ICML 2021, equation 2)."""
    # Two images with the same code make the determinant 0, which rounding would hide.
    kernel = agreements.double().cpu().numpy()
    if np.linalg.matrix_rank(kernel) < len(kernel):
        return -math.inf
    return float(np.linalg.slogdet(kernel)[1])


def jacov(jacobian: Float[ndarray, "batch inputs"]) -> float:
    """−Σ (log (v + k) + 1 / (v + k)) over the eigenvalues v of the correlations of the images' gradients, k = 10⁻⁵.

    The gradients are those of the sum of all logits (Mellor et al., 2020, the first version of "Neural Architecture
    Search without Training"; Abdelfattah et al., ICLR 2021).
    """
    # Negative eigenvalues of correlations are due to rounding.
    eigenvalues = np.maximum(np.linalg.eigvalsh(_correlations(jacobian)), 0) + 1e-5
    return float(-(np.log(eigenvalues) + 1 / eigenvalues).sum())


def epe_nas(jacobian: Float[ndarray, "batch inputs"], labels: Int[ndarray, " batch"]) -> float:
    """Σ over classes of |Σ log (|c| + k)|, c the correlations of gradients within a class (Lopes et al., ICANN 2021).

    With more than 100 classes, Σ over ordered pairs of classes of the absolute difference of their sums, each divided
    by its number of images, all divided by the number of classes.
    """
    sums = []
    classes = np.unique(labels)
    for number in classes:
        correlations = np.abs(_correlations(jacobian[labels == number]))
        total = np.log(correlations + 1e-5).sum()
        sums.append(total / len(correlations) if len(classes) > 100 else total)
    if len(classes) > 100:
        return float(np.abs(np.subtract.outer(sums, sums)).sum() / len(sums))
    return float(np.abs(sums).sum())


def _correlations(rows: Float[ndarray, "rows columns"]) -> Float[ndarray, "rows rows"]:
    """Correlation coefficients of the rows; any two constant rows count as identical."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1)
    constant = length == 0
    unit = centred / np.where(constant, 1, length)[:, None]
    correlations: Float[ndarray, "rows rows"] = unit @ unit.T
    correlations[np.ix_(constant, constant)] = 1
    return correlations


# With other weights or images


def synflow(network: Network, size: int) -> float:
    """Log Σ |θ ∂R/∂θ|, R the sum of logits for an image of ones, with the weights' absolute values and without norms.

    Tanaka et al., NeurIPS 2020, equation 2. A logarithm, as the sum of a deep network overflows; computed in float64.
    """
    linear = copy.deepcopy(network).double()
    for parent in list(linear.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, nn.Identity())
    with torch.no_grad():
        for weight in linear.parameters():
            weight.abs_()
    weights = _weights(linear)
    image = torch.ones(1, 3, size, size, dtype=torch.float64, device=weights[0].device)
    gradients = torch.autograd.grad(linear(image).sum(), weights, materialize_grads=True)
    flow = math.fsum((w * g).abs().sum().item() for w, g in zip(weights, gradients, strict=True))
    return math.log(flow) if flow > 0 else -math.inf


def zen(network: Network, images: Float[Tensor, "batch 3 height width"], seed: int) -> float:
    """Log E ‖f(x + γ ε) − f(x)‖₁ + Σ over norms of log σ, with f the feature maps before the global average, γ = 0.01.

    Lin et al., ICCV 2021, algorithm 1. Weights, x and ε are standard normal; σ² is the mean over channels of a norm's
    running variance after both passes.
    """
    other = copy.deepcopy(network)
    generator = torch.Generator(images.device).manual_seed(seed)
    with torch.no_grad():
        norms = [module for module in other.modules() if isinstance(module, nn.BatchNorm2d)]
        for norm in norms:
            norm.reset_parameters()
        for weight in _weights(other):
            weight.normal_(generator=generator)
        x, noise = (torch.empty_like(images).normal_(generator=generator) for _ in range(2))
        plain, moved = other.features(x), other.features(x + 0.01 * noise)
        change = (moved - plain).abs().flatten(1).sum(1).double().mean().item()
        sigmas = [norm.running_var.mean().sqrt().item() for norm in norms if norm.running_var is not None]
    terms = [change, *sigmas]
    return math.fsum(map(math.log, terms)) if min(terms) > 0 else -math.inf


def _weights(network: nn.Module) -> list[Tensor]:
    """The weights of convolutions and of the classifier."""
    return [module.weight for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
