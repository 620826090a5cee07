"""The benchmarks: one folder each, whose ``__init__.py`` records its spaces, tables and networks."""

from archflow.benchmarks import (
    darts,
    nasbench101,
    nasbench201,
    nasbench_asr,
    nasbench_graph,
    nasbench_macro,
    nasbench_nlp,
    transnas101,
)

BENCHMARKS = (
    nasbench101.BENCHMARK,
    nasbench201.BENCHMARK,
    darts.BENCHMARK,
    transnas101.BENCHMARK,
    nasbench_macro.BENCHMARK,
    nasbench_graph.BENCHMARK,
    nasbench_nlp.BENCHMARK,
    nasbench_asr.BENCHMARK,
)
"""The records of all benchmarks."""
