"""The base of all networks: feature maps, their average over the image, a linear classifier; and common layers."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn


class Network(nn.Module):
    """A convolutional classifier. A subclass defines :meth:`features` and sets a linear ``classifier``."""

    classifier: nn.Linear

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)

    def features(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch channels h w"]:
        """The feature maps before the global average, on which Zen-NAS is measured."""
        raise NotImplementedError

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch classes"]:
        """The class logits."""
        return self.classifier(self.pool(self.features(images)).flatten(1))


def conv(c_in: int, c_out: int, kernel: int = 1, stride: int = 1, groups: int = 1, dilation: int = 1) -> nn.Conv2d:
    """A convolution without bias, padded so that a stride of 1 keeps the size."""
    padding = dilation * (kernel - 1) // 2
    return nn.Conv2d(c_in, c_out, kernel, stride, padding, dilation, groups, bias=False)


def relu_conv_norm(c_in: int, c_out: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """ReLU, convolution, batch norm: the order of NAS-Bench-201 and TransNAS-Bench-101."""
    return nn.Sequential(nn.ReLU(), conv(c_in, c_out, kernel, stride), nn.BatchNorm2d(c_out))


def as_rectified(layers: nn.Sequential) -> nn.Sequential:
    """Initialise the convolutions as He et al. (ICCV 2015) do for ReLU, by fan-out, and return the layers."""
    for layer in layers.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layers
