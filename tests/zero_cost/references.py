"""Plain versions of the zero-cost proxies, slow, from their equations; for networks of NAS-Bench-201 in float64."""

import copy
import math

import numpy as np
import torch
from torch.nn.functional import conv2d, log_softmax

from tests.benchmarks.network_references import EDGES


def by_minibatch(scale, shift, maps):
    mean, variance = maps.mean((0, 2, 3), keepdim=True), maps.var((0, 2, 3), keepdim=True, correction=0)
    return (maps - mean) / (variance + 1e-5).sqrt() * scale[:, None, None] + shift[:, None, None]


def run(weights, cell, images, *, norm=by_minibatch, rectify=torch.relu, gate=lambda name, made: made):
    """The last feature maps and the logits of a network of one cell a stage.

    Args:
        weights: by their names in the network.
        cell: the operations of its edges.
        images: a minibatch.
        norm: takes a norm's scale, shift and input.
        rectify: replaces every rectifier.
        gate: takes the name of a convolution, or of the classifier, and its output; replaces the output.
    """

    def conv(name, maps, stride=1):
        kernel = weights[f"{name}.weight"]
        return gate(name, conv2d(maps, kernel, stride=stride, padding=kernel.shape[-1] // 2))

    def normalise(name, maps):
        return norm(weights[f"{name}.weight"], weights[f"{name}.bias"], maps)

    def block(name, maps, stride=1):
        return normalise(f"{name}.2", conv(f"{name}.1", rectify(maps), stride))

    def pool(maps):
        ones = torch.ones(maps.shape[1], 1, 3, 3, dtype=maps.dtype)
        total = conv2d(maps, ones, padding=1, groups=len(ones))
        return total / conv2d(torch.ones_like(maps), ones, padding=1, groups=len(ones))

    def cell_of(name, maps):
        nodes = [maps, *(torch.zeros_like(maps) for _ in range(3))]
        for (source, target), number in zip(EDGES, cell, strict=True):
            if number:
                edge = f"{name}.edges.{source}{target}"
                made = {1: lambda x: x, 4: pool}.get(number, lambda x, edge=edge: block(edge, x))(nodes[source])
                nodes[target] = nodes[target] + made
        return nodes[3]

    def halve(name, maps):
        main = block(f"{name}.convs.1", block(f"{name}.convs.0", maps, stride=2))
        quarters = sum(maps[:, :, row::2, column::2] for row in (0, 1) for column in (0, 1)) / 4
        return main + conv(f"{name}.shortcut.1", quarters)

    maps = cell_of("body.2", normalise("body.1", conv("body.0", images)))
    maps = cell_of("body.4", halve("body.3", maps))
    maps = cell_of("body.6", halve("body.5", maps))
    maps = rectify(normalise("body.7", maps))
    return maps, gate("classifier", maps.mean((2, 3)) @ weights["classifier.weight"].T + weights["classifier.bias"])


def cross_entropy(logits, labels):
    return -sum(log_softmax(row, 0)[label] for row, label in zip(logits, labels, strict=True)) / len(labels)


def values_of(network):
    """All trainable parameters by name."""
    return {name: value.detach().clone() for name, value in network.named_parameters()}


def weights_of(network):
    """Those of convolutions and of the classifier, the only ones with more than one dimension."""
    return {name: value for name, value in network.named_parameters() if value.dim() > 1}


def gradients(network, images, labels):
    """Of the loss by each weight; zeros where the loss does not depend on it."""
    network = copy.deepcopy(network).train().requires_grad_()
    cross_entropy(network(images), labels).backward()
    return {name: torch.zeros_like(w) if w.grad is None else w.grad for name, w in weights_of(network).items()}


# The proxies


def l2_norm(network):
    return sum(math.sqrt(math.fsum(x * x for x in w.flatten().tolist())) for w in weights_of(network).values())


def grad_norm(network, images, labels):
    found = gradients(network, images, labels)
    return sum(math.sqrt(math.fsum(x * x for x in g.flatten().tolist())) for g in found.values())


def snip(network, images, labels):
    """By the gradient of a mask of ones that multiplies the weights."""
    return sum(abs(x) for x in _by_mask(network, images, labels))


def plain(network, images, labels):
    return sum(_by_mask(network, images, labels))


def _by_mask(network, images, labels):
    weights, found = weights_of(network), gradients(network, images, labels)
    return [x for name in weights for x in (weights[name] * found[name]).flatten().tolist()]


def grasp(network, images, labels, step=1e-8):
    """H g is the change of the gradient along g, over a step so small that no rectifier opens or closes."""
    along = gradients(network, images, labels)

    def moved(by):
        other = copy.deepcopy(network)
        with torch.no_grad():
            for name, weight in weights_of(other).items():
                weight += by * along[name]
        return gradients(other, images, labels)

    ahead, behind, weights = moved(step), moved(-step), weights_of(network)
    return -sum((weights[name] * (ahead[name] - behind[name]) / (2 * step)).sum().item() for name in weights)


def grasp_of_hessian(network, cell, images, labels):
    """With every second derivative."""
    values, names = values_of(network), list(weights_of(network))

    def loss(flat):
        parts = flat.split([values[name].numel() for name in names])
        there = {name: part.reshape(values[name].shape) for name, part in zip(names, parts, strict=True)}
        return cross_entropy(run(values | there, cell, images)[1], labels)

    flat = torch.cat([values[name].flatten() for name in names])
    (gradient,) = torch.autograd.grad(loss(point := flat.clone().requires_grad_()), point)
    hessian = torch.autograd.functional.hessian(loss, flat)
    return -(flat @ hessian @ gradient).item()


def fisher(network, cell, images, labels):
    """a ∂L/∂a, summed over pixels, is the derivative by a gate of 1 that multiplies a channel of an image."""
    gates = {}

    def gate(name, made):
        gates[name] = torch.ones(made.shape[:2], dtype=made.dtype, requires_grad=True)
        return made * gates[name].reshape(*made.shape[:2], *[1] * (made.dim() - 2))

    values, total = values_of(network), 0.0
    loss = cross_entropy(run(values, cell, images, gate=gate)[1], labels)
    arriving = torch.autograd.grad(loss, list(gates.values()), allow_unused=True, materialize_grads=True)
    for name, of_images in zip(gates, arriving, strict=True):
        for channel in range(of_images.shape[1]):
            squares = [of_images[image, channel].item() ** 2 for image in range(len(images))]
            total += 0.5 * sum(squares) / len(images) * values[f"{name}.weight"][channel].numel()
    return total


def jacobian(network, images):
    """A row for each image, the gradient of the sum of all logits."""
    images = images.clone().requires_grad_()
    copy.deepcopy(network).train()(images).sum().backward()
    return images.grad.reshape(len(images), -1).numpy()


def jacov(rows):
    eigenvalues = np.linalg.eig(np.corrcoef(rows))[0].real
    return -sum(math.log(v + 1e-5) + 1 / (v + 1e-5) for v in eigenvalues)


def epe_nas(rows, labels):
    """With at most 100 classes."""
    total = 0.0
    for each in set(labels.tolist()):
        within = rows[labels == each]
        total += abs(sum(math.log(abs(np.corrcoef(a, b)[0, 1]) + 1e-5) for a in within for b in within))
    return total


def nwot(network, cell, images):
    codes = [[] for _ in images]

    def rectify(maps):
        for code, its in zip(codes, maps, strict=True):
            code.extend((its > 0).flatten().tolist())
        return torch.relu(maps)

    run(values_of(network), cell, images, rectify=rectify)
    hamming = [[sum(a != b for a, b in zip(one, other, strict=True)) for other in codes] for one in codes]
    return np.linalg.slogdet(len(codes[0]) - np.array(hamming))[1]


def synflow(network, cell, size):
    """R is linear in each layer's weights, so Σ θ ∂R/∂θ of a layer is the increase of R when they double."""
    values = {name: value.abs() for name, value in values_of(network).items()}
    image = torch.ones(1, 3, size, size, dtype=torch.float64)

    def flow(values):
        return run(values, cell, image, norm=lambda scale, shift, maps: maps)[1].sum().item()

    total = sum(flow(values | {name: 2 * values[name]}) - flow(values) for name in weights_of(network))
    return math.log(total) if total > 0 else -math.inf


def zen(network, cell, images, seed):
    """Step by step; random numbers are drawn in the order weights, images, noise."""
    generator = torch.Generator().manual_seed(seed)
    values = values_of(network)
    for name, value in values.items():
        if value.dim() > 1:
            values[name] = torch.randn(value.shape, dtype=value.dtype, generator=generator)
        elif name != "classifier.bias":
            values[name] = torch.full_like(value, name.endswith("weight"))
    first, noise = (torch.randn(images.shape, dtype=images.dtype, generator=generator) for _ in range(2))
    variances = []  # of the channels that a norm reads, for each norm of each pass

    def norm(scale, shift, maps):
        variances.append(maps.var((0, 2, 3)))
        return by_minibatch(scale, shift, maps)

    before, after = (run(values, cell, x, norm=norm)[0] for x in (first, first + 0.01 * noise))
    score = math.log(np.mean([(a - b).abs().sum().item() for a, b in zip(after, before, strict=True)]))
    norms = len(variances) // 2
    for one, two in zip(variances[:norms], variances[norms:], strict=True):
        running = 0.9 * (0.9 * torch.ones_like(one) + 0.1 * one) + 0.1 * two
        score += math.log(math.sqrt(running.mean().item()))
    return score
