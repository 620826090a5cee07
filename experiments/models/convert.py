"""Convert torchvision's classifiers and one model of each of timm's families into DAGs; a JSON line a model.

python experiments/models/convert.py experiments/models/results.jsonl
"""

import json
import sys
import time

import torch

from archflow.archs.recorded import recorded


def torchvision_models():
    """Names of all classifiers, and how each is made, with the side of its images."""
    # A CPU build of PyTorch has no torchvision operators, which torchvision describes when it is imported.
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision

    for name in torchvision.models.list_models(module=torchvision.models):
        yield f"torchvision/{name}", lambda name=name: (torchvision.models.get_model(name, weights=None), 224)


def timm_models():
    """The first model of each family, alike."""
    import timm

    for family in timm.list_modules():
        name = timm.list_models(module=family)[:1]
        if name:
            yield f"timm/{family}/{name[0]}", lambda name=name[0]: made(timm, name)


def made(timm, name):
    """A model of timm, and the side of its images."""
    model = timm.create_model(name, pretrained=False)
    return model, model.default_cfg.get("input_size", (3, 224, 224))[-1]


def main(out):
    """Convert what the file does not have yet."""
    try:
        with open(out) as file:
            done = {json.loads(line)["model"] for line in file}
    except FileNotFoundError:
        done = set()
    for make_all in (torchvision_models, timm_models):
        for name, make in make_all():
            if name in done:
                continue
            line, start = {"model": name}, time.process_time()
            try:
                with torch.device("meta"):
                    model, size = make()
            except Exception:
                try:  # some constructors compute with numbers
                    model, size = make()
                except Exception as error:
                    model, line["failed"] = None, f"cannot be made: {type(error).__name__}: {error}"[:300]
            line["seconds_to_build"] = round(time.process_time() - start, 3)
            if model is not None:
                start = time.process_time()
                try:
                    (names, edges), flops = recorded(model, torch.empty(1, 3, size, size, device="meta"), name)
                    kinds = sorted(set(names))
                    line |= {"nodes": len(names), "edges": len(edges), "kinds": kinds, "flops": flops, "size": size}
                    with torch.no_grad():
                        parameters = sum(each.numel() for each in model.parameters())
                    line["parameters"] = parameters
                except ValueError as error:
                    line["failed"] = str(error)[:300]
                line["seconds"] = round(time.process_time() - start, 3)
            with open(out, "a") as file:
                file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
