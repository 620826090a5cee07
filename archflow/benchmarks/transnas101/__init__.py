"""TransNAS-Bench-101: its two spaces and their tables, and the networks of its cells."""

from archflow.benchmarks.record import Benchmark, NetworkFamily, TableSource
from archflow.benchmarks.transnas101 import network, tables
from archflow.benchmarks.transnas101.space import TransNASMacro, TransNASMicro

BENCHMARK = Benchmark(
    spaces={"transnas101-micro": TransNASMicro, "transnas101-macro": TransNASMacro},
    tables={
        "transnas101-micro": TableSource("transnas101-micro", tables.read_micro, files=tables.FILE),
        "transnas101-macro": TableSource("transnas101-macro", tables.read_macro, files=tables.FILE),
    },
    networks={"transnas101-micro": NetworkFamily(network.build, network.representatives, 64, 5, 47, 256)},
)
