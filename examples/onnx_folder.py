"""Rank ONNX files: fit on some whose accuracy you know, score the rest. Here the files are made first.

python examples/onnx_folder.py
"""

import random
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

import archflow


def write(path, depth, kernel, pools):
    """A chain of convolutions with weights of zero, in place of what you export from your own models."""
    rectify, nodes, weights, last = ["Relu", "HardSwish"][kernel == 5], [], [], "image"
    for number in range(depth):
        shape = (8, 8 if number else 3, kernel, kernel)
        weights.append(numpy_helper.from_array(np.zeros(shape, np.float32), f"weight{number}"))
        nodes.append(helper.make_node("Conv", [last, f"weight{number}"], [f"conv{number}"], kernel_shape=shape[2:]))
        nodes.append(helper.make_node(rectify, [f"conv{number}"], [f"out{number}"]))
        last = f"out{number}"
        if number < pools:
            nodes.append(helper.make_node("MaxPool", [last], [f"pool{number}"], kernel_shape=[2, 2], strides=[2, 2]))
            last = f"pool{number}"
    nodes.append(helper.make_node("GlobalAveragePool", [last], ["logits"]))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("image", "logits")]
    save(helper.make_model(helper.make_graph(nodes, path.stem, ends[:1], ends[1:], weights)), path)


folder, count = Path("models"), 24
folder.mkdir(exist_ok=True)
draw = random.Random(0)
settings = [(draw.randint(1, 8), draw.choice([3, 5]), draw.randint(0, 3)) for _ in range(count)]
files = [folder / f"model{number:03}.onnx" for number in range(count)]
for file, setting in zip(files, settings, strict=True):
    write(file, *setting)

known = count // 2  # the accuracies that you have; here a formula
accuracy = np.array([60 + 4 * depth - pools + (kernel == 5) for depth, kernel, pools in settings])
archs = archflow.ArchBatch.from_onnx(files)
ranker = archflow.Ranker(None).fit(archs[:known], accuracy[:known])
ranker.save(folder / "ranker.archflow")
scores = ranker.predict(archs[known:])
for number in np.argsort(-scores)[:5]:
    print(f"{scores[number]:6.2f}  {files[known + number].name}")
print(f"then, for other files: archflow rank {folder / 'ranker.archflow'} --models '{folder}/*.onnx'")
