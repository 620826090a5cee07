import os
import pickle
import random
import struct

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from archflow.zero_cost.images import SYNTHETIC, minibatch

MEAN, STD = np.array([0.4914, 0.4822, 0.4465]), np.array([0.2470, 0.2435, 0.2616])


# Synthetic images


def spectrum(images: torch.Tensor) -> np.ndarray:
    """Mean amplitude of each frequency, the constant one first."""
    return np.sqrt((np.abs(np.fft.fft2(images.double().numpy())) ** 2).mean((0, 1)))


def frequencies(size: int) -> np.ndarray:
    one = np.fft.fftfreq(size)
    return np.hypot(one[:, None], one)


@pytest.mark.parametrize("size", [32, 21])
def test_natural_images_have_the_spectrum_of_natural_images(size):
    images, _ = minibatch("natural", 600, size, 10, seed=1)
    assert images.var().item() == pytest.approx(1, abs=0.1)
    assert images.mean().item() == pytest.approx(0, abs=0.1)
    frequency, amplitude = frequencies(size).ravel()[1:], spectrum(images).ravel()[1:]
    slope, level = np.polyfit(np.log(frequency), np.log(amplitude), 1)
    assert slope == pytest.approx(-1, abs=0.02)
    assert np.allclose(amplitude, np.exp(level) / frequency, rtol=0.2)  # in all directions alike
    assert spectrum(images)[0, 0] == pytest.approx(np.exp(level) * size, rel=0.2)  # as the lowest of the others


def test_colours_of_natural_images_are_nearly_one():
    images, _ = minibatch("natural", 600, 16, 10, seed=2)
    colours = np.corrcoef(images.transpose(0, 1).reshape(3, -1).numpy())
    assert np.allclose(colours, 0.9 + 0.1 * np.eye(3), atol=0.02)
    assert np.allclose(images.var((0, 2, 3)), 1, atol=0.1)


def test_pixels_of_white_images_are_independent():
    images, _ = minibatch("white", 500, 8, 10, seed=0)
    rows = images.reshape(500, -1).numpy()
    assert np.abs(np.corrcoef(rows.T) - np.eye(192)).max() < 5.5 / np.sqrt(500)
    assert rows.std() == pytest.approx(1, abs=0.02)
    assert rows.mean() == pytest.approx(0, abs=0.02)
    assert (rows**4).mean() == pytest.approx(3, abs=0.1)


@settings(max_examples=40)
@given(
    st.sampled_from(SYNTHETIC), st.integers(2, 9), st.integers(1, 13), st.integers(1, 120), st.integers(0, 2**63 - 1)
)
def test_every_size_and_the_same_for_the_same_seed(source, batch, size, classes, seed):
    images, labels = minibatch(source, batch, size, classes, seed)
    assert images.shape == (batch, 3, size, size)
    assert images.dtype == torch.float32
    assert images.isfinite().all()
    assert (images[0] != images[1]).any()
    assert labels.shape == (batch,)
    assert labels.dtype == torch.int64
    assert 0 <= labels.min() <= labels.max() < classes
    again, same_labels = minibatch(source, batch, size, classes, seed)
    assert torch.equal(again, images)
    assert torch.equal(same_labels, labels)
    assert not torch.equal(minibatch(source, batch, size, classes, seed ^ 1)[0], images)


@pytest.mark.parametrize("source", SYNTHETIC)
def test_labels_are_of_all_classes_alike(source):
    _, labels = minibatch(source, 6_000, 1, 6, seed=0)
    assert np.bincount(labels) == pytest.approx(np.full(6, 1_000), abs=150)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_tiny_natural_images_vary_as_large_ones_do(size):
    images, _ = minibatch("natural", 3_000, size, 10, seed=0)
    assert images.var().item() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(("batch", "size"), [(1, 8), (0, 8), (-3, 8), (4, 0), (4, -8)])
def test_too_few_images_or_pixels_are_an_error(batch, size):
    for source in (*SYNTHETIC, "a folder that is not looked at"):
        with pytest.raises(ValueError, match=f"^a minibatch has 2 images or more, .* not {batch} of {size} × {size}$"):
            minibatch(source, batch, size, 10, seed=0)


# CIFAR-10


def cifar(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Made-up images, bytes in the order colour, row, column, and their classes."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, 3, 32, 32), np.uint8), rng.integers(0, 10, count, np.uint8)


def binary(pixels, labels) -> bytes:
    return b"".join(bytes([label]) + image.tobytes() for image, label in zip(pixels, labels, strict=True))


def pickled(pixels, labels, protocol=2) -> bytes:
    """As Python 3 would write it."""
    names = {b"batch_label": b"one of five", b"filenames": [b"truck.png"] * len(labels)}
    return pickle.dumps(
        {b"data": pixels.reshape(len(pixels), 3_072), b"labels": [int(label) for label in labels], **names}, protocol
    )


def published(pixels, labels) -> bytes:
    """As the published files are: written by Python 2, whose strings were bytes."""

    def short(text: bytes) -> bytes:
        return b"U" + bytes([len(text)]) + text

    def number(value: int) -> bytes:
        return b"J" + struct.pack("<i", value)

    dtype = (
        b"cnumpy\ndtype\n(" + short(b"u1") + b"K\x00K\x01tR(K\x03" + short(b"|") + b"NNN" + number(-1) * 2 + b"K\x00tb"
    )
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85" + short(b"b") + b"tR"
    content = b"T" + struct.pack("<i", pixels.size) + pixels.tobytes()
    array += b"(K\x01(" + number(len(pixels)) + number(3_072) + b"t" + dtype + b"\x89" + content + b"tb"
    entries = short(b"batch_label") + short(b"training batch 1 of 5")
    entries += short(b"labels") + b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    entries += short(b"data") + array
    entries += short(b"filenames") + b"](" + short(b"leptodactylus_pentadactylus_s_000004.png") * len(labels) + b"e"
    return b"\x80\x02}(" + entries + b"u."


WRITERS = {
    "binary": (binary, "data_batch_{}.bin"),
    "Python 2": (published, "data_batch_{}"),
    "Python 3": (pickled, "data_batch_{}"),
    "Python 3, protocol 4": (lambda pixels, labels: pickled(pixels, labels, 4), "data_batch_{}"),
}


@pytest.fixture(params=list(WRITERS))
def version(request, tmp_path):
    """Writes batches in one of the formats, each given as images and classes; their folder."""
    write, name = WRITERS[request.param]

    def folder(*batches):
        for number, (pixels, labels) in enumerate(batches, 1):
            (tmp_path / name.format(number)).write_bytes(write(pixels, labels))
        return tmp_path

    return folder


def test_the_made_up_files_are_those_that_python_reads():
    pixels, labels = cifar(3)
    found = pickle.loads(published(pixels, labels), encoding="bytes")
    assert found[b"labels"] == labels.tolist()
    assert np.array_equal(found[b"data"], pixels.reshape(3, -1))
    assert found[b"batch_label"] == b"training batch 1 of 5"


@pytest.mark.parametrize("size", [32, 16, 8, 4, 2, 1])
def test_all_images_of_the_folder_normalised_averaged_and_with_their_labels(version, size):
    batches = [cifar(4, seed=0), cifar(3, seed=1), cifar(2, seed=2)]
    pixels, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    images, classes = minibatch(version(*batches), 9, size, 10, seed=5)
    assert images.shape == (9, 3, size, size)
    assert images.dtype == torch.float32
    assert classes.dtype == torch.int64
    window = 32 // size
    averaged = pixels.reshape(9, 3, size, window, size, window).mean((3, 5)) / 255
    expected = (averaged - MEAN[:, None, None]) / STD[:, None, None]
    left = list(range(9))
    for image, label in zip(images, classes, strict=True):
        (which,) = [each for each in left if np.allclose(image, expected[each], atol=1e-5)]
        assert label == labels[which]
        left.remove(which)


def test_one_pixel_is_where_it_belongs(version):
    pixels, labels = np.zeros((2, 3, 32, 32), np.uint8), np.array([7, 7], np.uint8)
    pixels[:, 1, 30, 5] = 255  # green, near the bottom, on the left
    images, _ = minibatch(version((pixels, labels)), 2, 32, 10, seed=0)
    assert images[0, 1, 30, 5].item() == pytest.approx((1 - 0.4822) / 0.2435)
    dark = (0 - MEAN) / STD
    assert np.allclose(images.sum((2, 3)), 1_024 * dark + np.array([0, 1 / 0.2435, 0]), rtol=1e-4)


def test_the_seed_chooses_images_and_none_twice(version):
    pixels, labels = cifar(40)
    folder = version((pixels, labels))
    images, classes = minibatch(folder, 12, 32, 10, seed=1)
    again, same = minibatch(str(folder), 12, 32, 10, seed=1)
    assert torch.equal(images, again)
    assert torch.equal(classes, same)
    assert len(images.flatten(1).unique(dim=0)) == 12
    other, _ = minibatch(folder, 12, 32, 10, seed=2)
    assert not torch.equal(images, other)
    chosen = torch.cat([minibatch(folder, 12, 32, 10, seed=seed)[0] for seed in range(20)])
    assert len(chosen.flatten(1).unique(dim=0)) == 40  # every image has its turn


@pytest.mark.parametrize("inside", [".", "cifar-10-batches-py", "cifar-10-batches-bin"])
def test_the_folder_above_will_do_and_other_files_are_let_alone(tmp_path, inside):
    folder = tmp_path / inside
    folder.mkdir(exist_ok=True)
    (folder / "data_batch_3.bin").write_bytes(binary(*cifar(5)))
    for name in ("test_batch", "test_batch.bin", "batches.meta", "batches.meta.txt", "readme.html"):
        (folder / name).write_bytes(b"not to be read")
    _, labels = minibatch(tmp_path, 5, 8, 10, seed=0)
    assert sorted(labels.tolist()) == sorted(cifar(5)[1].tolist())
    with pytest.raises(ValueError, match="holds 5 images, fewer than a minibatch of 6"):
        minibatch(tmp_path, 6, 8, 10, seed=0)


def test_more_classes_than_it_has_are_no_harm(version):
    folder = version(cifar(6))
    images, labels = minibatch(folder, 6, 8, 10, seed=0)
    others, same = minibatch(folder, 6, 8, 47, seed=0)
    assert torch.equal(images, others)
    assert torch.equal(labels, same)


def test_the_global_generators_are_untouched(version):
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # noqa: NPY002
    for source in (*SYNTHETIC, version(cifar(6))):
        minibatch(source, 6, 8, 10, seed=3)
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[2])


# What is wrong with a folder


def test_no_folder(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"^there is no folder .*absent; --images takes natural, white or a folder"
    ):
        minibatch(tmp_path / "absent", 4, 8, 10, seed=0)
    (tmp_path / "data_batch_1.bin").write_bytes(binary(*cifar(4)))
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        minibatch(tmp_path / "data_batch_1.bin", 4, 8, 10, seed=0)


def test_a_folder_without_batches(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"holds no batches of CIFAR-10 \(data_batch_1 or data_batch_1\.bin, …\)$"
    ):
        minibatch(tmp_path, 4, 8, 10, seed=0)
    (tmp_path / "test_batch.bin").write_bytes(binary(*cifar(4)))
    with pytest.raises(FileNotFoundError, match="holds no batches"):
        minibatch(tmp_path, 4, 8, 10, seed=0)


@pytest.mark.parametrize("size", [64, 33, 24, 10, 5])
def test_sizes_that_do_not_divide(version, size):
    with pytest.raises(ValueError, match=f"32 × 32 pixels and cannot be averaged to {size} × {size}$"):
        minibatch(version(cifar(4)), 4, size, 10, seed=0)


def test_too_few_images_or_classes(version):
    folder = version(cifar(3), cifar(4))
    with pytest.raises(ValueError, match="holds 7 images, fewer than a minibatch of 1,000"):
        minibatch(folder, 1_000, 8, 10, seed=0)
    with pytest.raises(ValueError, match="CIFAR-10 has 10 classes, but the network has 9"):
        minibatch(folder, 4, 8, 9, seed=0)


def test_labels_out_of_range(version):
    pixels, labels = cifar(6)
    labels[4] = 10
    with pytest.raises(ValueError, match="classes that CIFAR-10 has not"):
        minibatch(version(cifar(6), (pixels, labels)), 4, 8, 10, seed=0)


def test_no_images_in_a_batch(version):
    pixels, labels = cifar(4)
    with pytest.raises(ValueError, match=r"no images|for each of its 0 images|is refused"):
        minibatch(version((pixels[:0], labels[:0])), 4, 8, 10, seed=0)


@pytest.mark.parametrize("kept", [1, 100, 3_072, 3_074, 4 * 3_073 - 1])
def test_a_truncated_file(version, kept):
    folder = version(cifar(4), cifar(4))
    path = sorted(folder.iterdir())[1]
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=f"^{path} is truncated"):
        minibatch(folder, 4, 8, 10, seed=0)


def test_binary_images_of_another_size(tmp_path):
    (tmp_path / "data_batch_1.bin").write_bytes(bytes(4 * (1 + 3 * 28 * 28)))
    with pytest.raises(ValueError, match=r"or its images are not of 32 × 32 pixels in three colours$"):
        minibatch(tmp_path, 4, 8, 10, seed=0)


GOOD = {"data": np.zeros((4, 3_072), np.uint8), "labels": [0, 1, 2, 3]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            GOOD | {"data": np.zeros((4, 784), np.uint8)},
            r"holds images of shape \(4, 784\), not 3 × 32 × 32 bytes each",
        ),
        (
            GOOD | {"data": np.zeros((4, 3, 32, 32), np.uint8)},
            r"holds images of shape \(4, 3, 32, 32\), not 3 × 32 × 32",
        ),
        (GOOD | {"data": np.zeros((4, 3_072))}, "bytes each"),
        (GOOD | {"data": np.zeros((4, 3_072), np.int8)}, "bytes each"),
        (GOOD | {"data": None}, "bytes each"),
        (GOOD | {"labels": [0, 1, 2]}, "has not one class for each of its 4 images"),
        (GOOD | {"labels": [0, 1, 2, -1]}, "has not one class for each of its 4 images"),
        (GOOD | {"labels": [0, 1, 2, 1.5]}, "has not one class for each of its 4 images"),
        (GOOD | {"labels": [[0], [1], [2], [3]]}, "has not one class for each of its 4 images"),
        (GOOD | {"labels": ["cat"] * 4}, "has not one class for each of its 4 images"),
        (GOOD | {"labels": [0, 1, [2], 3]}, "is no batch of CIFAR-10"),
        (GOOD | {"labels": [0, 1, 2, 2**70]}, "has not one class for each of its 4 images"),
        (GOOD | {"labels": [0, 1, 2, 266]}, "classes that CIFAR-10 has not"),
        ({"data": GOOD["data"], "fine_labels": [0] * 4}, "is no batch of CIFAR-10: .*labels"),
        ({b"\xff": 1} | GOOD, "is no batch of CIFAR-10: .*decode"),
        ([GOOD], "is no batch of CIFAR-10"),
        (None, "is no batch of CIFAR-10"),
    ],
)
def test_pickles_of_something_else(tmp_path, content, message):
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match=message):
        minibatch(tmp_path, 4, 8, 10, seed=0)


class Malicious:
    def __init__(self, path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_malicious_pickle_is_refused_and_not_run(tmp_path):
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps(GOOD | {"data": Malicious(tmp_path / "made")}))
    with pytest.raises(ValueError, match=r"is refused: it asks for (posix|nt)\.mkdir, which is not allowed"):
        minibatch(tmp_path, 4, 8, 10, seed=0)
    assert not (tmp_path / "made").exists()


def test_objects_in_an_array_are_refused_and_not_made(tmp_path):
    hidden = np.array([Malicious(tmp_path / "made")], dtype=object)
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps(GOOD | {"data": hidden}))
    with pytest.raises(ValueError, match=r"data_batch_1 is (refused|truncated or not a pickle)"):
        minibatch(tmp_path, 4, 8, 10, seed=0)
    assert not (tmp_path / "made").exists()
