"""What the tests of several studies ask for."""

import pytest

from archflow.benchmarks.table import keep
from archflow.studies import grids
from archflow.studies.grids import Budget
from tests.studies import TABLE, made_up_table


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Two tables of nasbench201, "tiny" and "less"; a budget "tiny"; and the proxies that the space itself knows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARCHFLOW_CACHE", str(tmp_path_factory.mktemp("cache")))
        sizes = {name: {"hidden": 8, "layers": 2} for name in ("resgatedgcn", "gin", "mlp")}
        patch.setitem(grids.BUDGETS, "tiny", Budget(2, sizes, {"nasbench201": {"epochs": 2}}))
        patch.delitem(grids.PROXIES, "nasbench201")
        keep(TABLE)
        keep(made_up_table("less", 100))
        yield
