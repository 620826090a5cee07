"""DARTS and NAS-Bench-301: the space, its table, and its networks."""

from archflow.benchmarks.darts import network, tables
from archflow.benchmarks.darts.space import DARTS
from archflow.benchmarks.record import Benchmark, NetworkFamily, Published, TableSource

BENCHMARK = Benchmark(
    spaces={"darts": DARTS},
    published=Published(pool=5611, k=12, hidden=256, finetune_epochs=300, max_pairs=128, margin=0.1),
    tables={
        "darts/nasbench301": TableSource("darts", tables.read, files="nb_301_v13_lc_iclr_final.zip, or its folder")
    },
    networks={"darts": NetworkFamily(network.build, network.representatives, 32, 8, 10, 32)},
)
