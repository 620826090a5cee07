"""NAS-Bench-Graph: its space, the smaller space of the architectures trained on proteins, and their tables."""

from archflow.benchmarks.nasbench_graph import tables
from archflow.benchmarks.nasbench_graph.space import NASBenchGraph
from archflow.benchmarks.record import Benchmark, Published, TableSource

BENCHMARK = Benchmark(
    spaces={"nasbench-graph": NASBenchGraph, "nasbench-graph-proteins": NASBenchGraph.proteins},
    published=Published(proxies="cora/para"),
    published_apart={"nasbench-graph-proteins": Published()},
    tables={
        "nasbench-graph": TableSource(
            *("nasbench-graph", tables.read), package="nas-bench-graph", architectures=26_206, columns=tables.COLUMNS
        ),
        "nasbench-graph/proteins": TableSource(
            *("nasbench-graph-proteins", tables.read_proteins),
            package="nas-bench-graph",
            architectures=2_021,
            columns=tables.MEASURES,
        ),
        "nasbench-graph/full": TableSource(
            "nasbench-graph", tables.read_full, files="a folder or .zip of <dataset><n>.bench"
        ),
    },
)
