"""NAS-Bench-Macro: its space and its table."""

from archflow.benchmarks.nasbench_macro import tables
from archflow.benchmarks.nasbench_macro.space import NASBenchMacro
from archflow.benchmarks.record import Benchmark, TableSource

BENCHMARK = Benchmark(
    spaces={"nasbench-macro": NASBenchMacro},
    tables={"nasbench-macro": TableSource("nasbench-macro", tables.read, files=tables.FILE)},
)
