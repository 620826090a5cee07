"""NAS-Bench-NLP: its space and its table."""

from archflow.benchmarks.nasbench_nlp import tables
from archflow.benchmarks.nasbench_nlp.space import NASBenchNLP
from archflow.benchmarks.record import Benchmark, TableSource

BENCHMARK = Benchmark(
    spaces={"nasbench-nlp": NASBenchNLP},
    tables={
        "nasbench-nlp": TableSource("nasbench-nlp", tables.read, files="train_logs_single_run/logs.zip, or its folder")
    },
)
