"""Minibatches to measure an untrained network with: synthetic images, or those of CIFAR-10."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from numpy import ndarray
from torch import Tensor

from archflow.support.reading import Budget, expecting, read_regular
from archflow.support.unpickle import restricted_load

SYNTHETIC = ("natural", "white")
"""Kinds of synthetic images: Gaussian with the spectrum of natural images, or with independent pixels."""

_CIFAR_SIZE, _CIFAR_CLASSES, _RECORD = 32, 10, 1 + 3 * 32 * 32
BUDGET = Budget(125_000_000)
"""A batch of 10,000 images has 31 MB."""
_CIFAR_MEAN, _CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


def minibatch(
    source: str | Path, batch: int, size: int, classes: int, seed: int
) -> tuple[Float[Tensor, "batch 3 size size"], Int[Tensor, " batch"]]:
    """Images with labels, on the CPU; the same for the same arguments.

    Args:
        source: one of ``SYNTHETIC``, whose labels are random, or the folder of CIFAR-10's batches, the "python" or the
            "binary version", with labels of their own.
        batch: how many.
        size: height and width in pixels; CIFAR-10's 32 × 32 images are averaged to a size that divides 32.
        classes: labels are below this.
        seed: of the random images, or of the choice among CIFAR-10's.

    Raises:
        FileNotFoundError: there is no such folder, or it holds no batches.
        ValueError: fewer than two images, a size that CIFAR-10's images do not have, fewer classes than it has, fewer
            images than asked for, or a damaged file.
    """
    if batch < 2 or size < 1:
        raise ValueError(f"a minibatch has 2 images or more, of a pixel or more, not {batch} of {size} × {size}")
    generator = torch.Generator().manual_seed(seed)
    if source in SYNTHETIC:
        make = natural if source == "natural" else white
        return make(batch, size, generator), torch.randint(classes, (batch,), generator=generator)
    if size > _CIFAR_SIZE or _CIFAR_SIZE % size:
        raise ValueError(f"images of CIFAR-10 have 32 × 32 pixels and cannot be averaged to {size} × {size}")
    if classes < _CIFAR_CLASSES:
        raise ValueError(f"CIFAR-10 has {_CIFAR_CLASSES} classes, but the network has {classes}")
    pixels, labels = _cifar10(Path(source))
    if batch > len(labels):
        raise ValueError(f"{source} holds {len(labels):,} images, fewer than a minibatch of {batch:,}")
    chosen = torch.randperm(len(labels), generator=generator)[:batch].numpy()
    images = torch.from_numpy(pixels[chosen].reshape(-1, 3, _CIFAR_SIZE, _CIFAR_SIZE)).float() / 255
    mean, std = (torch.tensor(value)[:, None, None] for value in (_CIFAR_MEAN, _CIFAR_STD))
    images = torch.nn.functional.avg_pool2d((images - mean) / std, _CIFAR_SIZE // size)
    return images, torch.from_numpy(labels[chosen].astype(np.int64))


def white(batch: int, size: int, generator: torch.Generator) -> Float[Tensor, "batch 3 size size"]:
    """Independent standard normal numbers."""
    return torch.randn(batch, 3, size, size, generator=generator)


def natural(batch: int, size: int, generator: torch.Generator) -> Float[Tensor, "batch 3 size size"]:
    """Gaussian noise whose amplitude falls as 1 / frequency, as that of natural images does, of variance 1.

    Field, J. Opt. Soc. Am. A 4, 1987. Nine tenths of the variance are common to the three colours (Ruderman et al.,
    J. Opt. Soc. Am. A 15, 1998).
    """
    frequency = torch.fft.fftfreq(size)
    amplitude = 1 / (frequency[:, None].square() + frequency.square()).sqrt().clamp(min=1 / size)
    fields = torch.fft.ifft2(torch.fft.fft2(torch.randn(batch, 4, size, size, generator=generator)) * amplitude).real
    fields /= fields.std()
    return 0.9**0.5 * fields[:, :1] + 0.1**0.5 * fields[:, 1:]


def _cifar10(folder: Path) -> tuple[UInt8[ndarray, "images 3072"], UInt8[ndarray, " images"]]:
    """All training images of a folder: the red, the green, and the blue values row by row; and their classes."""
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}; --images takes {', '.join(SYNTHETIC)} or a folder")
    inside = [folder, *(folder / name for name in ("cifar-10-batches-py", "cifar-10-batches-bin"))]
    names = [f"data_batch_{number}{ending}" for number in range(1, 6) for ending in ("", ".bin")]
    files = [path for each in inside for name in names if (path := each / name).exists()]
    if not files:
        raise FileNotFoundError(f"{folder} holds no batches of CIFAR-10 (data_batch_1 or data_batch_1.bin, …)")
    parts = [_binary(path) if path.suffix == ".bin" else _pickled(path) for path in files]
    pixels, labels = np.concatenate([pixels for pixels, _ in parts]), np.concatenate([labels for _, labels in parts])
    if not len(labels) or labels.max() >= _CIFAR_CLASSES:
        raise ValueError(f"the batches in {folder} hold no images, or classes that CIFAR-10 has not")
    return pixels, labels


def _binary(path: Path) -> tuple[UInt8[ndarray, "images 3072"], UInt8[ndarray, " images"]]:
    content = np.frombuffer(read_regular(path, BUDGET.file), np.uint8)
    if len(content) % _RECORD:
        raise ValueError(f"{path} is truncated, or its images are not of 32 × 32 pixels in three colours")
    records = content.reshape(len(content) // _RECORD, _RECORD)
    return records[:, 1:], records[:, 0]


def _pickled(path: Path) -> tuple[UInt8[ndarray, "images 3072"], UInt8[ndarray, " images"]]:
    found = restricted_load(path, encoding="latin1", most=BUDGET.file)  # Python 2 wrote them
    with expecting(f"{path} is no batch of CIFAR-10"):
        entries = {name.decode() if isinstance(name, bytes) else name: value for name, value in found.items()}
        pixels, labels = np.asarray(entries["data"]), np.asarray(entries["labels"])
    if pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.shape[1] != _RECORD - 1:
        raise ValueError(f"{path} holds images of shape {pixels.shape}, not 3 × 32 × 32 bytes each")
    if labels.shape != pixels.shape[:1] or labels.dtype.kind not in "iu" or (labels < 0).any():
        raise ValueError(f"{path} has not one class for each of its {len(pixels):,} images")
    return pixels, labels
