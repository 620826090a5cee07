"""Heads by name. To add one, write a :class:`~archflow.ranking.head.Head` in a file here and name it in ``HEADS``, or
call ``archflow.register("head", name, kind)`` from your code.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from archflow.ranking.finetune import FinetuneHead
from archflow.ranking.gp_head import GaussianProcessHead, TreesHead
from archflow.ranking.head import Head
from archflow.support.registry import Registry

HEADS: Registry[type[Head]] = Registry(
    "head", {each.name: each for each in (FinetuneHead, GaussianProcessHead, TreesHead)}
)


def heads() -> list[str]:
    """Names of the heads that :class:`archflow.Ranker` knows."""
    return HEADS.names()


def make_head(name: str, **settings: Any) -> Head:
    """A head that is not fitted yet.

    Raises:
        ValueError: the name is unknown, a setting is, or a setting makes no sense.
    """
    kind = HEADS.find(name)
    known = [field.name for field in fields(kind.Settings)]
    unknown = [setting for setting in settings if setting not in known]
    if unknown:
        raise ValueError(f"head '{name}' has no setting '{unknown[0]}'; its settings are {', '.join(known)}")
    return kind(kind.Settings(**settings))
