"""Search: which architecture to train next, and what training it gives; strategies, an Optuna sampler, and the loop."""

from archflow.search.loop import SearchResult, TrialRow, run
from archflow.search.sampler import FlowSampler

__all__ = ["FlowSampler", "SearchResult", "TrialRow", "run"]
