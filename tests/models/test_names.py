"""What `tinyattn.models` offers: functions and classes, whichever way their files have been imported before."""

import inspect
import subprocess
import sys

import numpy as np
import pytest

import tinyattn.models as models

SHARED_WITH_A_FILE = ("generate", "train", "speculate")


def test_every_public_name_is_a_function_or_a_class():
    assert models.__all__ == sorted(set(models.__all__))
    for name in models.__all__:
        thing = getattr(models, name)
        assert inspect.isfunction(thing) or inspect.isclass(thing), name
        assert thing.__module__.startswith("tinyattn.models."), name
        assert inspect.getdoc(thing), name


@pytest.mark.parametrize("first", ["package", "files"])
def test_a_name_is_the_function_before_and_after_its_file_is_imported(first):
    files = f"import importlib\nfor name in {SHARED_WITH_A_FILE}: importlib.import_module('tinyattn.models.' + name)\n"
    asked = f"import tinyattn.models as m\nfor name in {SHARED_WITH_A_FILE}: assert callable(getattr(m, name)), name\n"
    code = asked + files + asked if first == "package" else files + asked
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_model_prints_in_a_line_and_without_its_numbers(tmp_path):
    config = models.DecoderConfig(width=8, layers=2, heads=2, hidden=8, context=8)
    decoder = models.Decoder.create(config, np.random.default_rng(0))
    assert repr(decoder) == "Decoder(vocab=256, width=8, layers=2)"
    models.save_training(tmp_path / "m", decoder, config, mechanism="attention")
    assert repr(models.load(tmp_path / "m")).startswith("Model(network=Transformer(vocab=256, width=8, layers=2), name='m'")
    step = next(models.train(decoder, np.zeros(99, np.uint8), steps=1, context=8, batch=1, rng=np.random.default_rng(0)))
    assert len(repr(step)) < 200 and "model=Decoder(" in repr(step)
    image = models.ImageModel.create(models.ImageConfig(), np.random.default_rng(0), block=lambda *_: len)
    assert repr(image) == f"ImageModel(width={image.head.shape[0]}, layers={len(image.blocks)}, classes=10)"
