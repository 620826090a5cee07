"""A space's decisions as parameters of an Optuna trial, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.space import Space

if TYPE_CHECKING:
    import optuna


def require_decisions(space: Space) -> None:
    """Raise ValueError if the architectures of a space are not made by a fixed number of decisions."""
    if not space.decisions:
        raise ValueError(
            f"the architectures of {space.name} are not made by a fixed number of decisions, so it cannot be searched"
        )


def distributions(space: Space) -> dict[str, optuna.distributions.BaseDistribution]:
    """A categorical distribution over the options of each decision.

    Raises:
        ValueError: the space has no decisions.
    """
    from optuna.distributions import CategoricalDistribution

    require_decisions(space)
    return {decision.name: CategoricalDistribution(decision.options) for decision in space.decisions}


def suggest(space: Space, trial: optuna.Trial) -> str:
    """The architecture that a trial chooses, in the space's notation.

    Raises:
        optuna.TrialPruned: the choices denote no architecture, as most do in NAS-Bench-101 if each is made by itself.
        ValueError: the space has no decisions.
    """
    import optuna

    require_decisions(space)
    try:
        return space.suggest(trial)
    except ValueError as error:
        raise optuna.TrialPruned(str(error)) from None


def parameters_of(space: Space, row: Int[ndarray, " decisions"]) -> dict[str, str]:
    """The parameters of a trial that makes these choices: the inverse of :func:`choices_of` for one architecture."""
    return {each.name: each.options[choice] for each, choice in zip(space.decisions, row.tolist(), strict=True)}


def choices_of(space: Space, parameters: Sequence[Mapping[str, Any]]) -> Int[ndarray, "trials decisions"]:
    """The choices that the parameters of trials make, those of :meth:`Space.encode` for the architecture they denote.

    Raises:
        ValueError: parameters are not those of the space, or denote no architecture; the message names the position.
    """
    choices = np.empty((len(parameters), len(space.decisions)), np.int64)
    for row, chosen in enumerate(parameters):
        for column, decision in enumerate(space.decisions):
            if chosen.get(decision.name) not in decision.options:
                raise ValueError(
                    f"trial {row} is not of the space {space.name}: its '{decision.name}' is "
                    f"{chosen.get(decision.name)!r}; take another study name or storage"
                )
            choices[row, column] = decision.options.index(chosen[decision.name])
    return space.encode(space.decode(choices)) if len(choices) else choices


def architecture(space: Space, parameters: Mapping[str, Any]) -> ArchBatch:
    """The one architecture that the parameters of a trial choose.

    Raises:
        ValueError: see :func:`choices_of`.
    """
    return space.decode(choices_of(space, [parameters]))
