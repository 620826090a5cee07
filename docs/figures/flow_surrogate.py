"""Draws ``flow_surrogate.svg``: the flow surrogate passing forward and backward through the best cell of NAS-Bench-201.

``python docs/figures/flow_surrogate.py`` writes the file again.
"""

from pathlib import Path

import numpy as np
import torch

import archflow

FILE = Path(__file__).with_suffix(".svg")
CELL = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_1x1~1|nor_conv_3x3~2|"
ALPHA = 0.5
PLACES = {0: (0, 1.5), 1: (1, 0.4), 2: (1, 2), 3: (2, 1), 4: (1, 3), 5: (2, 0), 6: (3, 1.5), 7: (4, 1.5)}
"""Column and row of each node: the input, the operations on the cell's six edges, the output."""
WIDTH, HEIGHT, BARS = 128, 70, 40
SHORT = {"nor_conv_3x3": "conv 3×3", "nor_conv_1x1": "conv 1×1", "skip_connect": "skip"}
COLOURS = {"forward": "#2f6fba", "backward": "#c2571a"}


def passes(archs, draw):
    """The vectors f and b of every node, straight from the equations; their end must be archflow's surrogate."""
    names, edges = archs.graph(0)
    r, P, W = draw.r.numpy(), draw.P.numpy(), draw.W.numpy()

    def updated(node, message):
        h = P[archs.vocabulary.index(names[node])]
        return ALPHA * message + (1 - ALPHA) * np.maximum(np.concatenate([h, message]) @ W, 0)

    order = sorted(PLACES, key=lambda node: PLACES[node][0])
    forward, backward = {}, {}
    for node in order:
        before = [forward[source] for source, target in edges if target == node]
        forward[node] = updated(node, sum(before)) if before else r
    for node in reversed(order):
        after = [backward[target] for source, target in edges if source == node]
        backward[node] = updated(node, sum(after)) if after else forward[node]
    surrogate = archflow.flow_surrogate(archs, draw, ALPHA)[0].numpy()
    assert np.allclose(backward[0], surrogate), "the drawn flow is not archflow's"
    return names, edges, {"forward": forward, "backward": backward}


def middle(node, top):
    """Where the box of a node has its middle."""
    column, row = PLACES[node]
    return 84 + 186 * column, top + 60 + 86 * row


def panel(direction, names, edges, flow, top, largest):
    """One pass: arrows, then a box with a bar for each of the k numbers of every node."""
    colour, title = COLOURS[direction], {"forward": "forward: f", "backward": "backward: b"}[direction]
    yield f'<text x="20" y="{top + 4}" class="title" fill="{colour}">{title}</text>'
    for source, target in edges:
        (x1, y1), (x2, y2) = middle(source, top), middle(target, top)
        x1, x2 = x1 + WIDTH / 2, x2 - WIDTH / 2
        late, early = (0.55, 0.55) if x2 - x1 < 100 else (0.95, 0.1)  # long edges bend behind what they pass
        path = f"M{x1:g},{y1:g} C{x1 + late * (x2 - x1):g},{y1:g} {x2 - early * (x2 - x1):g},{y2:g} {x2:g},{y2:g}"
        yield f'<path d="{path}" fill="none" stroke="{colour}" stroke-opacity=".55" stroke-width="1.5"/>'
        tip = f"M{x2:g},{y2:g} l-7,-4 v8 z" if direction == "forward" else f"M{x1:g},{y1:g} l7,-4 v8 z"
        yield f'<path d="{tip}" fill="{colour}"/>'
    for node, name in enumerate(names):
        x, y = middle(node, top)
        left, base = x - WIDTH / 2, y + HEIGHT / 2 - 4
        yield f'<rect x="{left:g}" y="{y - HEIGHT / 2:g}" width="{WIDTH}" height="{HEIGHT}" rx="6" class="box"/>'
        yield f'<text x="{x:g}" y="{y - HEIGHT / 2 + 16:g}" text-anchor="middle">{SHORT.get(name, name)}</text>'
        for number, value in enumerate(flow[node]):
            height = BARS * float(value) / largest
            bar = f'x="{left + 13 + 15 * number:g}" y="{base - height:.1f}" width="12" height="{height:.1f}"'
            yield f'<rect {bar} fill="{colour}"/>'


def draw_figure():
    """The whole figure as SVG."""
    archs = archflow.space("nasbench201").parse([CELL])
    draw = archflow.FlowDraw.sample(len(archs.vocabulary), k=7, std=0.1, seed=0, dtype=torch.float64)
    names, edges, flows = passes(archs, draw)
    largest = max(float(value.max()) for flow in flows.values() for value in flow.values())
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 912 830" font-family="sans-serif" font-size="13">',
        "<style>.box{fill:#f6f6f4;stroke:#999}.title{font-size:16px;font-weight:bold}</style>",
        '<rect width="912" height="830" rx="8" fill="#fff"/>',
        *panel("forward", names, edges, flows["forward"], 32, largest),
        *panel("backward", names, edges, flows["backward"], 440, largest),
        "</svg>\n",
    ]
    return "\n".join(parts)


if __name__ == "__main__":
    FILE.write_text(draw_figure(), encoding="utf-8")
