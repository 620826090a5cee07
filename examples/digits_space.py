"""A small vision space of your own: 30 models trained on the digits of scikit-learn, chosen by a ranker.

python examples/digits_space.py          # with --small, five trainings of one epoch
"""

import sys

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

import archflow

TRAININGS, EPOCHS = (5, 1) if "--small" in sys.argv else (30, 4)


class Residual(nn.Sequential):
    """The sum of its input and its output."""

    def forward(self, x):
        return x + super().forward(x)


def build(choose):
    """A model from some choices."""
    width = choose.integer("width", 4, 16)
    layers = [nn.Conv2d(1, width, 3, padding=1)]
    for number in range(choose.integer("depth", 1, 4)):
        kernel = choose.categorical(f"kernel{number}", [1, 3, 5])
        inner = width * choose.integer(f"expansion{number}", 1, 4)
        depthwise = nn.Conv2d(inner, inner, kernel, padding=kernel // 2, groups=inner)
        parts = nn.Conv2d(width, inner, 1), nn.ReLU(), depthwise, nn.BatchNorm2d(inner), nn.ReLU()
        block = Residual if choose.boolean(f"skip{number}") else nn.Sequential
        layers.append(block(*parts, nn.Conv2d(inner, width, 1)))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))


def train(arch):
    """Train a model on two thirds of the digits; its accuracy on the others."""
    model = space.model(arch)
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for rows in torch.randperm(1200).split(64) * EPOCHS:
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(images[rows]), labels[rows]).backward()
        optimiser.step()
    return (model.eval()(images[1200:]).argmax(1) == labels[1200:]).float().mean().item()


images, labels = (torch.from_numpy(array) for array in load_digits(return_X_y=True))
images = images.float().view(-1, 1, 8, 8) / 16
space = archflow.space_from(build, images[:1], name="digits")
candidates = space.sample(20 * TRAININGS)
trained = list(range(max(4, TRAININGS // 3)))  # the first at random
accuracy = [train(candidates[number]) for number in trained]
while len(trained) < TRAININGS:
    ranker = archflow.Ranker(None, space=space).fit(candidates[trained], np.array(accuracy))
    trained.append(int(ranker.suggest(candidates, 1)[0]))
    accuracy.append(train(candidates[trained[-1]]))
print(f"best of {TRAININGS}: {max(accuracy):.3f} with {space.format(candidates[trained[np.argmax(accuracy)]])[0]}")
