"""Compare the heads under one label budget, on a published column of NAS-Bench-201 that archflow brings with it.

The column is the proxy grad_norm, in place of accuracies that need a download; replace it by your own.
"""

import argparse
import time

import numpy as np

import archflow

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--labels", type=int, default=80)
parser.add_argument("--small", action="store_true", help="fewer architectures and epochs")
options = parser.parse_args()

table = archflow.table("nasbench201/proxies")
accuracy = table["grad_norm"]
order = np.random.default_rng(0).permutation(len(table.archs))
trained, others = order[: options.labels], order[options.labels :]
if options.small:
    trained, others = trained[:30], others[:500]

encoder = archflow.encoder("resgatedgcn", table.archs.vocabulary, hidden=32, layers=2)
proxy = table.space.parameters(table.archs)
task = archflow.FGP(archflow.FlowDraw.sample(len(table.archs.vocabulary)), proxy=proxy[others])
archflow.pretrain(encoder, table.archs[others], task, epochs=1 if options.small else 20, seed=0)

# Without a space the heads read path features alone: the space's proxies nearly give the answer away here.
settings = {"gp": {}, "trees": {}, "finetune": {"epochs": 3 if options.small else 200}}
print(f"{'head':10}{'encoder':>10}{'τ':>8}{'P@5%':>8}{'seconds':>9}")
for head, stands_on in (("gp", None), ("gp", encoder), ("trees", None), ("finetune", encoder)):
    begun = time.monotonic()
    ranker = archflow.Ranker(stands_on, head, space=None, **settings[head])
    score = ranker.fit(table.archs[trained], accuracy[trained]).predict(table.archs[others])
    tau = archflow.metrics.kendall_tau(accuracy[others], score)
    found = archflow.metrics.precision_at(accuracy[others], score, percent=5)
    name = "none" if stands_on is None else "FGP"
    print(f"{head:10}{name:>10}{tau:8.2f}{found:8.2f}{time.monotonic() - begun:9.1f}")
