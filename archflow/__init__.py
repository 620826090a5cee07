"""archflow: rank a whole search space of neural architectures from a few dozen training runs."""

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.networks import network
from archflow.benchmarks.registry import register_space, space, spaces
from archflow.benchmarks.table import table
from archflow.encoding.registry import encoder, encoders
from archflow.flow import FlowDraw, flow_surrogate
from archflow.pretraining.arch2vec import Arch2Vec
from archflow.pretraining.fgp import FGP, ZeroCost
from archflow.pretraining.gmae import GMAE
from archflow.pretraining.graphcl import GraphCL
from archflow.pretraining.loop import pretrain
from archflow.pretraining.registry import tasks
from archflow.pretraining.task import Task
from archflow.ranking import metrics
from archflow.ranking.ranker import Ranker
from archflow.studies.reproduce import reproduce
from archflow.support.registry import register
from archflow.zero_cost.bulk import proxies

__version__ = "0.1.0"

__all__ = [
    "FGP",
    "GMAE",
    "Arch2Vec",
    "ArchBatch",
    "FlowDraw",
    "GraphCL",
    "Ranker",
    "Task",
    "ZeroCost",
    "encoder",
    "encoders",
    "flow_surrogate",
    "metrics",
    "network",
    "pretrain",
    "proxies",
    "register",
    "register_space",
    "reproduce",
    "space",
    "spaces",
    "table",
    "tasks",
]
