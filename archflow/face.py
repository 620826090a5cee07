"""The public names: what ``archflow.NAME`` finds, each from the room where it lives."""

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.networks import network, networks
from archflow.benchmarks.registry import space, spaces
from archflow.benchmarks.space import Space
from archflow.benchmarks.tables import table, tables
from archflow.encoding.base import Encoder
from archflow.encoding.registry import encoder, encoders
from archflow.flow import FlowDraw, flow_surrogate
from archflow.models.space_from import space_from
from archflow.paths import path_features
from archflow.pretraining.arch2vec import Arch2Vec
from archflow.pretraining.fgp import FGP, ZeroCost
from archflow.pretraining.gmae import GMAE
from archflow.pretraining.graphcl import GraphCL
from archflow.pretraining.loop import pretrain
from archflow.pretraining.registry import tasks
from archflow.pretraining.task import Task
from archflow.ranking import metrics
from archflow.ranking.head import Head
from archflow.ranking.ranker import Ranker
from archflow.ranking.registry import heads
from archflow.ranking.saved import load, save
from archflow.studies.evaluate import evaluate
from archflow.studies.reproduce import reproduce
from archflow.support.registry import register
from archflow.zero_cost.bulk import proxies

__all__ = [
    "FGP",
    "GMAE",
    "Arch2Vec",
    "ArchBatch",
    "Encoder",
    "FlowDraw",
    "GraphCL",
    "Head",
    "Ranker",
    "Space",
    "Task",
    "ZeroCost",
    "encoder",
    "encoders",
    "evaluate",
    "flow_surrogate",
    "heads",
    "load",
    "metrics",
    "network",
    "networks",
    "path_features",
    "pretrain",
    "proxies",
    "register",
    "reproduce",
    "save",
    "space",
    "space_from",
    "spaces",
    "table",
    "tables",
    "tasks",
]
