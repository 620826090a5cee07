"""NAS-Bench-101: its space, its table, its networks, and proxies in closed form."""

from archflow.benchmarks.nasbench101 import network, tables
from archflow.benchmarks.nasbench101.space import NASBench101
from archflow.benchmarks.record import Benchmark, NetworkFamily, Published, TableSource

BENCHMARK = Benchmark(
    spaces={"nasbench101": NASBench101},
    published=Published(pool=7290, k=4, std=1.0, hidden=256, finetune_epochs=200, max_pairs=128),
    tables={
        "nasbench101": TableSource(
            "nasbench101", tables.read, files="nasbench_only108.tfrecord or nasbench_full.tfrecord"
        )
    },
    networks={"nasbench101": NetworkFamily(network.build, network.representatives, 128, 3, 10, 32)},
)
