"""A Gaussian process on several blocks of columns, for a ranking from a few dozen labels.

Each block (path features, zero-cost proxies, an embedding, …) has a kernel of its own, and the process decides by the
marginal likelihood how much it listens to each. Plain torch: an exact process of a few hundred labels is these lines,
and GPyTorch would add a dependency to hide them.

    X_b      columns of block b for the labelled architectures, as normal scores, shape (n, d_b)
    y        their labels as normal scores, shape (n,)
    r_b      distance of two architectures in block b: r² = mean over its columns of (x − z)²
    κ        correlation: Matérn-5/2, (1 + u + u²/3) exp(−u) with u = √5 r; or RBF, exp(−r²/2)
    v_b, l_b variance and length scale of block b
    k        Σ_b v_b κ(r_b / l_b)
    C        k(X, X) + noise · I = L Lᵀ
    mean     k(x, X) C⁻¹ y
    std²     Σ_b v_b − ‖L⁻¹ k(X, x)‖², of the label that further training would tend to, without the noise of one
    log p(y) −½ yᵀ C⁻¹ y − Σ log L_ii − n/2 log 2π
    left out y_i − (C⁻¹ y)_i / (C⁻¹)_ii, the mean at i of the process without label i

v, l and the noise maximise log p(y) plus weak log-normal priors: without them a block that says nothing could take any
length, and so few labels could be explained without noise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Self, get_args

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from archflow.ranking.columns import Blocks, Columns, checked_labels, count, normal_scores, to_labels

Kernel = Literal["matern52", "rbf"]

_JITTER = (0.0, *(10.0**power for power in range(-10, 1)))
"""What is added to the diagonal, relative to its mean, until C has a Cholesky factor."""
_ENOUGH = 1e-6
"""The optimiser stops where a step gains a smaller share of the objective; more changes no ranking."""
_BOUND = 12.0
"""Largest absolute logarithm of a hyperparameter."""


@dataclass(frozen=True)
class GPSettings:
    """Settings of a Gaussian process; a prior is the median and the standard deviation of the logarithm.

    Attributes:
        kernel: "matern52" or "rbf".
        variance: prior of each block's variance; its median is shared out among the blocks.
        length: prior of each block's length scale. Two random architectures are about √2 apart.
        noise: prior of the noise's variance; the labels' own is 1.
        steps: steps of the optimiser (L-BFGS) at most.
    """

    kernel: Kernel = "matern52"
    variance: tuple[float, float] = (1.0, 1.5)
    length: tuple[float, float] = (1.5, 1.0)
    noise: tuple[float, float] = (0.1, 1.0)
    steps: int = 150

    def __post_init__(self) -> None:
        if self.kernel not in get_args(Kernel):
            raise ValueError(f"unknown kernel '{self.kernel}'; known: {', '.join(get_args(Kernel))}")
        for name in ("variance", "length", "noise"):
            if not all(value > 0 for value in getattr(self, name)):
                raise ValueError(f"the prior of the {name} must have a median and a deviation above 0")
        if self.steps < 0:
            raise ValueError(f"steps must be 0 or more, not {self.steps}")


class Hyperparameters(NamedTuple):
    """Variance and length scale of each block, shape (blocks,), and the noise's variance, shape (); all above 0."""

    variance: Float[Tensor, " blocks"]
    length: Float[Tensor, " blocks"]
    noise: Float[Tensor, ""]


def distances(x: list[Float[Tensor, "n _"]], z: list[Float[Tensor, "m _"]]) -> Float[Tensor, "blocks n m"]:
    """r_b of all pairs of rows, block by block."""
    return torch.stack([torch.cdist(a, b) / math.sqrt(a.shape[1]) for a, b in zip(x, z, strict=True)])


def covariance(r: Float[Tensor, "blocks n m"], theta: Hyperparameters, kernel: Kernel) -> Float[Tensor, "n m"]:
    """The kernel k of all pairs of rows whose distances are given; without the noise."""
    scaled = r / theta.length[:, None, None]
    if kernel == "rbf":
        correlation = torch.exp(-scaled.square() / 2)
    else:
        u = math.sqrt(5) * scaled
        correlation = (1 + u + u.square() / 3) * torch.exp(-u)
    return torch.einsum("b,bnm->nm", theta.variance, correlation)


def factor(C: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    """The lower Cholesky factor L of C, with as little added to its diagonal as makes it positive definite."""
    for jitter in _JITTER:
        L, failed = torch.linalg.cholesky_ex(C + jitter * C.diagonal().mean() * torch.eye(len(C), dtype=C.dtype))
        if not failed:
            return L
    raise ValueError("the kernel matrix of the Gaussian process is not finite")


def log_marginal_likelihood(
    r: Float[Tensor, "blocks n n"], y: Float[Tensor, " n"], theta: Hyperparameters, kernel: Kernel
) -> Float[Tensor, ""]:
    """The logarithm of p(y)."""
    C = covariance(r, theta, kernel) + theta.noise * torch.eye(len(y), dtype=y.dtype)
    found: Float[Tensor, ""] = _LogDensity.apply(C, y)  # type: ignore[no-untyped-call]
    return found


class _LogDensity(torch.autograd.Function):
    """log p(y) as a function of C, whose slope (C⁻¹y yᵀC⁻¹ − C⁻¹)/2 costs a fifth of going back through L."""

    @staticmethod
    def forward(ctx: Any, C: Float[Tensor, "n n"], y: Float[Tensor, " n"]) -> Float[Tensor, ""]:
        L = factor(C)
        whitened = torch.linalg.solve_triangular(L, y[:, None], upper=False)
        ctx.save_for_backward(L, y)
        return -whitened.square().sum() / 2 - L.diagonal().log().sum() - len(y) / 2 * math.log(2 * math.pi)

    @staticmethod
    def backward(ctx: Any, slope: Float[Tensor, ""]) -> tuple[Float[Tensor, "n n"], None]:
        L, y = ctx.saved_tensors
        weights = torch.cholesky_solve(y[:, None], L)
        return slope / 2 * (weights @ weights.T - torch.cholesky_inverse(L)), None


def log_prior(theta: Hyperparameters, settings: GPSettings) -> Float[Tensor, ""]:
    """Logarithm of the density of the hyperparameters' logarithms, up to a constant."""
    total = torch.zeros((), dtype=theta.noise.dtype)
    for value, (median, deviation) in zip(_flat(theta), _priors(settings, len(theta.length)), strict=True):
        total = total - ((value.log() - math.log(median)) / deviation).square() / 2
    return total


def fitted(r: Float[Tensor, "blocks n n"], y: Float[Tensor, " n"], settings: GPSettings) -> Hyperparameters:
    """The hyperparameters that maximise log p(y) plus their log prior, from the medians of the priors."""
    from scipy.optimize import minimize

    def loss(logarithms: ndarray) -> tuple[float, ndarray]:
        theta = torch.from_numpy(logarithms).requires_grad_()
        named = _unflat(theta.exp())
        value = -log_marginal_likelihood(r, y, named, settings.kernel) - log_prior(named, settings)
        value.backward()
        assert theta.grad is not None
        return value.item(), theta.grad.numpy()

    start = np.log([median for median, _ in _priors(settings, len(r))])
    found = minimize(
        loss,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=[(-_BOUND, _BOUND)] * len(start),
        options={"maxiter": settings.steps, "ftol": _ENOUGH},
    )
    return _unflat(torch.from_numpy(found.x).exp())


class GaussianProcess:
    """A Gaussian process that ranks architectures by blocks of columns.

    >>> process = GaussianProcess().fit({"paths": features[labelled]}, accuracy[labelled], {"paths": features})
    >>> mean, std = process.predict({"paths": features})
    """

    columns: Columns
    X: list[Float[Tensor, "n _"]]
    labels: Float[ndarray, " n"]
    theta: Hyperparameters

    def __init__(self, settings: GPSettings | None = None) -> None:
        self.settings = settings or GPSettings()

    def fit(self, blocks: Blocks, y: Float[ndarray, " n"], reference: Blocks | None = None) -> Self:
        """Learn from labelled architectures; deterministic.

        Args:
            blocks: columns of the labelled architectures, the same number of rows in each block.
            y: their labels, finite; higher is better. One architecture may come with several.
            reference: columns of the architectures among which columns are scaled; best all candidates. The labelled
                ones if None, beyond whose extremes nothing is told apart then. Columns that are constant there are
                left out.

        Raises:
            ValueError: no label, only one, all are equal or one is not finite; blocks of other lengths than ``y`` or
                of other columns than ``reference``; or no column varies.
        """
        self.labels = checked_labels(blocks, y)
        self.columns = Columns.of(blocks, reference)
        self.X = [torch.from_numpy(x) for x in self.columns(blocks)]
        self.theta = fitted(distances(self.X, self.X), self._y, self.settings)
        return self._conditioned()

    def predict(
        self, blocks: Blocks, with_noise: bool = False
    ) -> tuple[Float[ndarray, " archs"], Float[ndarray, " archs"]]:
        """Mean and standard deviation for each architecture, float64, on the scale of normal scores.

        Candidates are taken in parts: beyond the columns and the result, memory does not grow with their number.

        Args:
            blocks: columns of the candidates; blocks that did not vary when fitted are not read.
            with_noise: whether the deviation is that of one more label, as an interval that is to hold measured
                accuracies needs, or that of what labels scatter around, as a search needs.

        Raises:
            ValueError: a block is missing, or has other columns than when fitted, or another number of rows.
        """
        mean, variance = np.empty((2, count(blocks)))
        for rows, part in self.columns.in_parts(blocks):
            k = covariance(distances(self.X, [torch.from_numpy(x) for x in part]), self.theta, self.settings.kernel)
            mean[rows] = self._weights @ k
            explained = torch.linalg.solve_triangular(self._L, k, upper=False).square().sum(dim=0)
            variance[rows] = (self.theta.variance.sum() - explained).clamp(min=0) + with_noise * self.theta.noise
        return mean, np.sqrt(variance)

    def joint(self, blocks: Blocks) -> tuple[Float[ndarray, " archs"], Float[ndarray, "archs archs"]]:
        """Mean and covariance of all candidates together, without noise; for some thousands of them at most.

        Raises:
            ValueError: as :meth:`predict`.
        """
        x = [torch.from_numpy(columns) for columns in self.columns(blocks)]
        k = covariance(distances(self.X, x), self.theta, self.settings.kernel)
        whitened = torch.linalg.solve_triangular(self._L, k, upper=False)
        rest = covariance(distances(x, x), self.theta, self.settings.kernel) - whitened.T @ whitened
        return (self._weights @ k).numpy(), rest.numpy()

    def left_out(self) -> Float[ndarray, " n"]:
        """The mean at each label of the process without it, all else as fitted, as a normal score."""
        return (self._y - self._weights / torch.cholesky_inverse(self._L).diagonal()).numpy()

    def to_labels(self, scores: Float[ndarray, "*any"]) -> Float[ndarray, "*any"]:
        """Normal scores, such as mean ± 1.28 std, on the scale of the labels."""
        return to_labels(scores, self.labels)

    def state(self) -> dict[str, Tensor]:
        """All that was learned, as named tensors for a file; with ``settings``, :meth:`from_state` restores it."""
        X = {f"X/{name}": x for name, x in zip(self.columns.scalings, self.X, strict=True)}
        return {"labels": torch.from_numpy(self.labels), "theta": _flat(self.theta), **X, **self.columns.state()}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], settings: GPSettings) -> Self:
        """A process that predicts what the one predicted whose :meth:`state` this is.

        Raises:
            ValueError: a tensor is missing, or none names a block.
        """
        process = cls(settings)
        process.columns = Columns.from_state(state)
        try:
            process.labels, process.theta = state["labels"].numpy(), _unflat(state["theta"])
            process.X = [state[f"X/{name}"] for name in process.columns.scalings]
        except KeyError as error:
            raise ValueError(f"the state lacks {error}") from None
        return process._conditioned()

    @property
    def _y(self) -> Float[Tensor, " n"]:
        return torch.from_numpy(normal_scores(self.labels))

    def _conditioned(self) -> Self:
        """Keep what predictions need of the labelled architectures."""
        C = covariance(distances(self.X, self.X), self.theta, self.settings.kernel)
        self._L = factor(C + self.theta.noise * torch.eye(len(C), dtype=C.dtype))
        self._weights = torch.cholesky_solve(self._y[:, None], self._L)[:, 0]
        return self


def _priors(settings: GPSettings, blocks: int) -> list[tuple[float, float]]:
    median, deviation = settings.variance
    return [(median / blocks, deviation)] * blocks + [settings.length] * blocks + [settings.noise]


def _flat(theta: Hyperparameters) -> Float[Tensor, " hyperparameters"]:
    return torch.cat([theta.variance, theta.length, theta.noise[None]])


def _unflat(values: Float[Tensor, " hyperparameters"]) -> Hyperparameters:
    blocks = len(values) // 2
    return Hyperparameters(values[:blocks], values[blocks:-1], values[-1])
