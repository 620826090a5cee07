"""Ranking architectures from a few labels: the face of every head."""

from __future__ import annotations

import copy
import warnings
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, Self, overload

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from numpy.typing import ArrayLike

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.registry import space as make_space
from archflow.benchmarks.space import Space
from archflow.encoding.base import Encoder
from archflow.ranking.fitted import Fitted, Labelled, read_candidates, read_columns, require_columns
from archflow.ranking.head import Examples, Head
from archflow.ranking.labels import check_labels, joined, merged
from archflow.ranking.metrics import kendall_tau
from archflow.ranking.registry import make_head
from archflow.ranking.sources import space_of
from archflow.support.progress import Progress, shown

_FEW = 10
"""Labels below which a ranking is poor."""


class Ranker:
    """Scores architectures so that better ones score higher; a scikit-learn regressor over an ``ArchBatch``.

    ``sklearn.base.clone``, ``cross_val_score``, ``GridSearchCV`` and the like take it; scikit-learn is not needed.

    ``fit`` leaves the encoder that it is given as it was, so one pre-trained encoder serves many rankers.

    >>> ranker = archflow.Ranker(encoder).fit(archs[labelled], accuracy[labelled])
    >>> mean, std = ranker.predict(archs, return_std=True)
    >>> ranker.suggest(archs, 10)

    Args:
        encoder: pre-trained or not; None for a head that does without, as "gp" does.
        head: the name of a head, see :func:`archflow.ranking.registry.heads`, or one of one's own. The default is
            the best that we know, and fits to all labels, those for validation included; the paper's is "finetune".
        space: where architectures are from, whose proxies the head then reads: a space or its name, "auto" for the
            known space whose operations are called as theirs, None for none.
        seed: fixes whatever is random in the head.
        device: "cpu", "cuda", …, or "auto": where encoders compute.
        settings: of the head of that name, as ``epochs`` of "finetune".

    Attributes:
        provenance: what was kept with a loaded ranker.

    Raises:
        ValueError: an unknown head, space or setting, or a head that needs an encoder has none.
    """

    def __init__(
        self,
        encoder: Encoder | None,
        head: str | Head = "gp",
        *,
        space: str | Space | None = "auto",
        seed: int = 0,
        device: str = "auto",
        **settings: Any,
    ) -> None:
        if isinstance(head, Head) and settings:
            raise ValueError(f"a head that is made brings its settings with it; leave {', '.join(settings)} out")
        self._unfitted = head if isinstance(head, Head) else make_head(head, **settings)
        if encoder is None and self._unfitted.needs_encoder:
            raise ValueError(f"the head '{self._unfitted.name}' needs an encoder; the head 'gp' does without")
        if isinstance(space, str) and space != "auto":
            make_space(space)
        self.encoder, self.head, self.space, self.seed, self.device = encoder, head, space, seed, device
        self.provenance: dict[str, Any] = {}
        self._fitted: Fitted | None = None

    @property
    def settings(self) -> Any:
        """The settings of the head, a frozen dataclass."""
        return self._unfitted.settings

    @property
    def losses(self) -> list[float]:
        """Mean loss of each epoch of the last ``fit``, for a head that learns in epochs."""
        return [] if self._fitted is None else self._fitted.head.losses

    @property
    def validation_taus(self) -> list[float]:
        """Kendall's τ on the validation architectures after each epoch, empty if there were none."""
        return [] if self._fitted is None else self._fitted.head.validation_taus

    @property
    def fitted(self) -> Fitted:
        """The fitted head and what it was fitted on; raises ValueError if there is none."""
        if self._fitted is None:
            raise ValueError("this ranker has not been fitted yet")
        return self._fitted

    @property
    def labelled(self) -> Labelled:
        """The architectures and labels that the ranker was fitted on; those for validation come last.

        Raises:
            ValueError: it was not fitted.
        """
        return self.fitted.labelled

    def fit(
        self,
        archs: ArchBatch,
        accuracy: ArrayLike,
        validation: tuple[ArchBatch, ArrayLike] | None = None,
        progress: Progress | None = None,
        *,
        proxies: ArrayLike | None = None,
        validation_proxies: ArrayLike | None = None,
        candidates: ArchBatch | None = None,
        candidate_proxies: ArrayLike | None = None,
    ) -> Self:
        """Learn to order the labelled architectures.

        Args:
            archs: the labelled architectures. One that is there several times counts once, with its mean label.
            accuracy: for each of them a number, higher is better: anything that NumPy can read.
            validation: other labelled architectures. "finetune" keeps the weights of the epoch with the best τ on them;
                a head with no such use for them is fitted on them, too.
            progress: told how much is done; by default there is a bar on a terminal and in a notebook.
            proxies: columns of one's own for ``archs``, beside those of their space, (architectures, proxies).
            validation_proxies: the same columns for ``validation``.
            candidates: architectures that are to be ranked, among which "gp" and "trees" then scale columns. It gains
                up to 0.01 of τ from 20 labels, and 0.001 from a hundred.
            candidate_proxies: the same columns for ``candidates``.

        Raises:
            ValueError: fewer than two labels, a NaN, another length, all labels equal, or another vocabulary.
        """
        head, space = copy.deepcopy(self._unfitted), space_of(archs, self.space)
        labels = check_labels(archs, accuracy, "labels")
        columns = read_columns(head, archs, space, proxies)
        examples, held = Examples(archs, columns.values, labels), None
        if validation is not None:
            others, other_labels = validation[0], check_labels(*validation, "validation labels")
            others.require_vocabulary(archs.vocabulary, "the labelled ones")
            other_columns = read_columns(head, others, space, validation_proxies)
            require_columns(other_columns, columns.names)
            held = Examples(others, other_columns.values, other_labels)
            if not head.needs_validation:
                examples, held = joined(examples, held), None
        if candidates is not None:
            candidates.require_vocabulary(archs.vocabulary, "the labelled ones")
            head.candidates = read_candidates(head, candidates, space, candidate_proxies, columns.names)
        examples = merged(examples, "labels")
        held = None if held is None else merged(held, "validation labels")
        if len(examples.labels) < _FEW:
            warnings.warn(f"{len(examples.labels)} labels say little: expect a poor ranking below {_FEW}", stacklevel=2)
        with shown(progress) as told:
            head.fit(self.encoder, *examples, validation=held, seed=self.seed, device=self.device, progress=told)
        head.candidates = None
        known = examples if held is None else joined(examples, held)
        labelled = Labelled(known.archs, known.labels)
        self._fitted = Fitted(head, self.encoder, space, columns.names, labelled, self.seed)
        return self

    @overload
    def predict(
        self,
        archs: ArchBatch,
        return_std: Literal[False] = False,
        *,
        proxies: ArrayLike | None = None,
    ) -> Float[ndarray, " archs"]: ...

    @overload
    def predict(
        self, archs: ArchBatch, return_std: Literal[True], *, proxies: ArrayLike | None = None
    ) -> tuple[Float[ndarray, " archs"], Float[ndarray, " archs"]]: ...

    def predict(
        self, archs: ArchBatch, return_std: bool = False, *, proxies: ArrayLike | None = None
    ) -> Float[ndarray, " archs"] | tuple[Float[ndarray, " archs"], Float[ndarray, " archs"]]:
        """A score for each architecture; higher is better. That of "gp" is on the scale of the labels.

        Args:
            archs: any number of architectures.
            return_std: whether to return their standard deviations, too.
            proxies: columns of one's own for them, the same as for the labelled ones.

        Raises:
            ValueError: the ranker was not fitted, the architectures have another vocabulary or other columns, or
                deviations are asked of a head that has none.
        """
        fitted = self.fitted
        mean, std = fitted.head.predict(archs, fitted.read(archs, proxies))
        if not return_std:
            return mean
        if std is None:
            raise ValueError(f"the head '{fitted.head.name}' does not say how sure it is; the head 'gp' does")
        return mean, std

    def intervals(
        self, archs: ArchBatch, level: float = 0.8, *, proxies: ArrayLike | None = None
    ) -> Float[ndarray, "archs 2"]:
        """Between which two values the label of each architecture lies with probability ``level``.

        Raises:
            ValueError: as :meth:`predict`; or ``level`` is not between 0 and 1.
        """
        if not 0 < level < 1:
            raise ValueError(f"level must be between 0 and 1, not {level}")
        fitted = self.fitted
        return fitted.head.intervals(archs, fitted.read(archs, proxies), level)

    def trained(self, archs: ArchBatch) -> Bool[ndarray, " archs"]:
        """Whether each architecture is among those that the ranker was fitted on, by the space's measure of equality.

        Raises:
            ValueError: the ranker was not fitted, or the architectures are of another space.
        """
        fitted = self.fitted
        archs.require_vocabulary(fitted.labelled.archs.vocabulary, "the ranker's")
        return np.isin(fitted.keys(archs), fitted.keys(fitted.labelled.archs))

    def suggest(
        self,
        archs: ArchBatch,
        n: int,
        exclude_trained: bool = True,
        *,
        proxies: ArrayLike | None = None,
    ) -> Int[ndarray, " n"]:
        """Numbers of the ``n`` architectures to train next, the most promising first, no one twice.

        Where the space is known, two architectures are the same if the space takes them for one network; else if
        operations and edges are the same, node by node.

        Args:
            archs: the candidates.
            n: how many.
            exclude_trained: whether to leave out those that the ranker was fitted on.
            proxies: columns of one's own for the candidates.

        Raises:
            ValueError: as :meth:`predict`; or there are not ``n`` architectures to choose from.
        """
        fitted = self.fitted
        columns, keys = fitted.read(archs, proxies), fitted.keys(archs)
        rows = np.sort(np.unique(keys, return_index=True)[1])
        if exclude_trained:
            rows = rows[~self.trained(archs[rows])]
        if not 1 <= n <= len(rows):
            raise ValueError(f"{n} architectures cannot be suggested out of {len(rows):,} that may be")
        return rows[fitted.head.choose(archs[rows], columns[rows], n)]

    def score(
        self,
        archs: ArchBatch,
        accuracy: ArrayLike,
        *,
        proxies: ArrayLike | None = None,
    ) -> float:
        """Kendall's τ of the predictions with the true accuracies."""
        return kendall_tau(accuracy, self.predict(archs, proxies=proxies))

    def save(self, path: str | Path, **provenance: Any) -> None:
        """Write the fitted ranker to one file; ``provenance`` (JSON-able) is kept with it."""
        self.fitted.save(path, provenance)

    @classmethod
    def load(cls, path: str | Path, device: str = "auto") -> Ranker:
        """A ranker written by :meth:`save`.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is truncated, foreign, of another version, or does not fit together; or its encoder,
                head or space is not known here.
        """
        fitted, provenance = Fitted.load(path, device)
        head, space = fitted.head, fitted.space
        ranker = cls(
            *(fitted.encoder, head.name),
            space=space and space.name,
            seed=fitted.seed,
            device=device,
            **_settings(head.settings),
        )
        ranker._fitted, ranker.provenance = fitted, provenance
        return ranker

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """What the ranker was made with, as scikit-learn calls it."""
        made = {name: getattr(self, name) for name in ("encoder", "head", "space", "seed", "device")}
        return made | ({} if isinstance(self.head, Head) else _settings(self.settings))

    def set_params(self, **changed: Any) -> Self:
        """Change what the ranker was made with; afterwards it is not fitted. Another head begins with its defaults."""
        made = self.get_params()
        if "head" in changed:
            made = {name: value for name, value in made.items() if name not in _settings(self.settings)}
        self.__dict__.update(type(self)(**{**made, **changed}).__dict__)
        return self

    _estimator_type = "regressor"  # to scikit-learn before 1.6; later ones ask for tags

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import RegressorTags, Tags, TargetTags

        return Tags("regressor", TargetTags(required=True), regressor_tags=RegressorTags())

    def __sklearn_is_fitted__(self) -> bool:
        return self._fitted is not None

    def __repr__(self) -> str:
        settings, defaults = (_settings(each) for each in (self.settings, type(self.settings)()))
        parts = [
            "None" if self.encoder is None else self.encoder.name,
            f"head={self._unfitted.name!r}",
            *(f"{name}={value!r}" for name, value in settings.items() if value != defaults[name]),
            f"seed={self.seed}",
        ]
        state = "not fitted" if self._fitted is None else f"fitted on {len(self.labelled.labels):,} architectures"
        return f"<Ranker({', '.join(parts)}), {state}>"


def _settings(settings: Any) -> dict[str, Any]:
    return {field.name: getattr(settings, field.name) for field in fields(settings)}
