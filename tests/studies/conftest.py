"""Fixtures for the tests of studies."""

import pytest

from archflow.benchmarks.tables import keep
from archflow.pretraining.loop import pretrain as real_pretrain
from archflow.ranking.ranker import Ranker
from archflow.studies import grids, methods, runner
from archflow.studies.grids import Budget
from tests.studies import TABLE, made_up_table


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Two tables of nasbench201, "tiny" and "less"; a budget "tiny" with the closed-form proxies."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARCHFLOW_DATA", str(tmp_path_factory.mktemp("cache")))
        sizes = {name: {"hidden": 8, "layers": 2} for name in ("resgatedgcn", "gin", "mlp")}
        patch.setitem(grids.BUDGETS, "tiny", Budget(2, finetune_epochs=2, sizes=sizes, proxies="closed-form"))
        keep(TABLE)
        keep(made_up_table("less", 100))
        yield


@pytest.fixture
def counted(monkeypatch):
    """Counts pre-trainings and fits."""
    count = {"pretrain": 0, "fit": 0}

    class Counting(Ranker):
        def fit(self, *args, **kwargs):
            count["fit"] += 1
            return super().fit(*args, **kwargs)

    def pretrain(*args, **kwargs):
        count["pretrain"] += 1
        return real_pretrain(*args, **kwargs)

    monkeypatch.setattr(methods, "Ranker", Counting)
    monkeypatch.setattr(runner, "pretrain", pretrain)
    return count
