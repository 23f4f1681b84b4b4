"""Image models: patches, blocks of every mechanism of a grid, and training on digits."""

import json

import numpy as np
import pytest

from tinyattn.catalog.blocks import BLOCKS
from tinyattn.cli import main
from tinyattn.engine import check, grad
from tinyattn.layers import PatchEmbedding, SpatialGate, SwinBlock
from tinyattn.models import digits
from tinyattn.models.decoder import parameters
from tinyattn.models.image import ImageConfig, ImageModel, image_loss

RNG = np.random.default_rng
SMALL = ImageConfig(side=4, patch=1, width=8, heads=2, hidden=8, classes=3)


def test_a_patch_is_a_square_of_pixels():
    layer = PatchEmbedding.create(RNG(0), (2, 3), 2, 5)
    images = RNG(1).standard_normal((2, 4, 6)).astype(np.float32)
    tokens = layer(images)
    for n, (y, x) in enumerate(np.ndindex(2, 3)):
        square = images[:, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].reshape(2, 4)
        np.testing.assert_allclose(tokens[:, n], square @ layer.weight + layer.positions[n], rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="6 patches of 2 by 2 pixels, got shape"):
        layer(images[:, :3])


@pytest.mark.parametrize("name", BLOCKS)
def test_every_block_reads_the_image_and_learns(name):
    model = ImageModel.create(SMALL, RNG(0), block=BLOCKS[name])
    images, labels = RNG(1).standard_normal((6, 4, 4)).astype(np.float32), np.arange(6) % 3
    assert model(images).shape == (6, 3)
    before = image_loss(model, images, labels)
    data = digits.Digits(images, labels, images, labels)
    learned = [step.model for step in digits.train_images(model, data, steps=60, batch=6, rng=RNG(2))][-1]
    assert image_loss(learned, images, labels) < 0.8 * before
    slopes = grad(image_loss)(model, images, labels)
    assert all(np.any(slope != 0) for slope in parameters(slopes).values())


def test_a_second_swin_block_joins_windows_that_the_first_keeps_apart():
    x = RNG(0).standard_normal((1, 16, 8)).astype(np.float32)
    other = x.copy()
    other[:, 0] += 1.0
    for shift, reached in ((0, {0, 1, 4, 5}), (1, {0})):
        block = SwinBlock.create(RNG(1), 8, 2, 8, grid=(4, 4), window=2, shift=shift)
        moved = np.flatnonzero(np.any(block(x) != block(other), axis=(0, 2)))
        assert set(moved.tolist()) == reached


def test_the_gate_layer_has_gradients():
    layer = SpatialGate.create(RNG(0), (3, 2), size=3)
    x = RNG(1).standard_normal((2, 6, 4))
    np.testing.assert_allclose(*check.directional(lambda t: (layer(t) ** 2).sum(), x, RNG(2)), rtol=1e-6)


@pytest.mark.parametrize(("change", "words"), [({"side": 5, "patch": 2}, "patch"), ({"width": 6}, "heads"), ({"layers": 0}, "layers")])
def test_sizes_that_do_not_fit_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        ImageConfig(**change)


def test_the_task_of_digits(capsys, tmp_path):
    pytest.importorskip("sklearn")
    assert main(["compare", "--task", "digits", "--mechanisms", "axial", "--steps", "60", "--json", str(tmp_path / "a")]) == 0
    report = json.loads((tmp_path / "a").read_text())
    assert set(report["rows"][0]) == {"mechanism", "accuracy", "parameters", "train_images_per_s", "losses"}
    assert 0.8 < report["settings"]["nearest_mean_accuracy"] < 0.95
    assert report["rows"][0]["accuracy"] > 0.6  # of ten classes, after 60 steps
    assert "(nearest mean image)" in capsys.readouterr().out
    for wrong, words in ((["--mechanisms", "gla"], "no image model"), (["--caches", "all"], "images have no caches"),
                         (["--context", "64"], "leave --caches, --text and --context out")):
        assert main(["compare", "--task", "digits", *wrong]) == 2
        assert words in capsys.readouterr().err
