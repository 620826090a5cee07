"""NAS-Bench-201: its space, four tables, its networks, and proxies in closed form."""

from archflow.benchmarks.nasbench201 import analog, hw_nasbench, measured, nats_bench, network
from archflow.benchmarks.nasbench201.space import NASBench201
from archflow.benchmarks.record import Benchmark, NetworkFamily, Published, TableSource

BENCHMARK = Benchmark(
    spaces={"nasbench201": NASBench201},
    # jacov has the best validation τ of the thirteen proxies that were measured here (experiments/proxies).
    published=Published(pool=7813, proxies="measured/jacov"),
    tables={
        "nasbench201/analog": TableSource(
            *("nasbench201", analog.read), package="analog-nasbench", architectures=15_625, columns=analog.COLUMNS
        ),
        "nasbench201/proxies": TableSource(
            *("nasbench201", measured.read), package="archflow", architectures=15_625, columns=measured.COLUMNS
        ),
        "nasbench201/nats": TableSource(
            "nasbench201", nats_bench.read, files="NATS-tss-v1_0-3ffb9-simple, the folder or the .tar"
        ),
        "nasbench201/hw": TableSource("nasbench201", hw_nasbench.read, files="HW-NAS-Bench-v1_0.pickle"),
    },
    networks={"nasbench201": NetworkFamily(network.build, network.representatives, 16, 5, 10, 32)},
)
