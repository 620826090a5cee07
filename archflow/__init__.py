"""archflow: rank a whole search space of neural architectures from a few dozen training runs."""

from archflow import metrics
from archflow.encoders import encoder, encoders, register_encoder
from archflow.flow import FlowDraw, flow_surrogate
from archflow.graphs import ArchBatch
from archflow.networks import network
from archflow.pretext.arch2vec import Arch2Vec
from archflow.pretext.fgp import FGP
from archflow.pretext.gmae import GMAE
from archflow.pretext.graphcl import GraphCL
from archflow.pretext.registry import register_task, tasks
from archflow.pretext.zero_cost import ZeroCost
from archflow.pretrain import pretrain
from archflow.proxies import proxies
from archflow.ranker import Ranker
from archflow.spaces import register_space, space, spaces
from archflow.studies import reproduce
from archflow.tables import table

__version__ = "0.1.0"

__all__ = [
    "FGP",
    "GMAE",
    "Arch2Vec",
    "ArchBatch",
    "FlowDraw",
    "GraphCL",
    "Ranker",
    "ZeroCost",
    "encoder",
    "encoders",
    "flow_surrogate",
    "metrics",
    "network",
    "pretrain",
    "proxies",
    "register_encoder",
    "register_space",
    "register_task",
    "reproduce",
    "space",
    "spaces",
    "table",
    "tasks",
]
