"""NAS-Bench-ASR: its space and its table."""

from archflow.benchmarks.nasbench_asr import tables
from archflow.benchmarks.nasbench_asr.space import NASBenchASR
from archflow.benchmarks.record import Benchmark, TableSource

BENCHMARK = Benchmark(
    spaces={"nasbench-asr": NASBenchASR},
    tables={
        "nasbench-asr": TableSource(
            "nasbench-asr", tables.read, files="a folder of nb-asr-e40-1234.pickle, …, or one of them"
        )
    },
)
