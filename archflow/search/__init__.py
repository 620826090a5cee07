"""Search for a good architecture: strategies, an Optuna sampler, and the loop that trains what they propose."""

from archflow.search.run import SearchResult, TrialRow, run
from archflow.search.sampler import FlowSampler

__all__ = ["FlowSampler", "SearchResult", "TrialRow", "run"]
