"""A training on the command line: timed without an end, run to its end, and begun anew each time."""

import numpy as np
import pytest

from tinyattn.cli import main, training
from tinyattn.cli.training import Training
from tinyattn.models import Decoder, DecoderConfig, Step, checkpoint, split, train

TEXT = np.arange(200, dtype=np.uint8)
CONFIG = DecoderConfig(width=8, layers=1, heads=2, hidden=8, context=8)


def begun(log):
    """Begins trainings of a fixed seed, and notes how many steps each was asked for."""
    def begin(steps):
        log.append(steps)
        decoder = Decoder.create(CONFIG, np.random.default_rng(0))
        return train(decoder, TEXT, steps=steps, context=8, batch=2, rng=np.random.default_rng(1))

    return begin


def test_a_training_keeps_every_loss_and_can_be_run_again(capsys):
    log = []
    made = Training("small", 3, begun(log))
    assert log == []
    first, again = made.run(), made.run()
    assert log == [3, 3]
    assert first.losses == again.losses == [step.loss for step in begun([])(3)]
    assert [first.last.number, len(first.seconds)] == [2, 3]
    assert min(first.seconds) > 0
    assert f"small: 3/3  {first.losses[-1] / np.log(2):.2f} bits" in capsys.readouterr().err


def test_a_loss_is_shown_as_its_training_says(capsys):
    Training("small", 1, begun([]), lambda loss: f"loss {loss:.1f}").run()
    assert "small: 1/1  loss 5." in capsys.readouterr().err


def test_a_timed_training_begins_at_the_first_step_and_leaves_the_model_as_it_was():
    log = []
    step = Training("small", 3, begun(log)).timed()
    assert log == []
    taken = [step() for _ in range(5)]
    assert log == [training.ENDLESS]
    assert [one.number for one in taken] == [0, 1, 2, 3, 4]
    start = Decoder.create(CONFIG, np.random.default_rng(0))
    np.testing.assert_allclose(taken[-1].model.head, start.head, rtol=0, atol=1e-6)
    assert np.any(taken[-1].model.head != start.head)


def test_a_step_names_its_model_twice():
    step = Step(0, 1.0, 0.1, "model", None)
    assert step.decoder is step.model


def test_a_training_that_diverges_raises():
    def begin(steps):
        return train(Decoder.create(CONFIG, np.random.default_rng(0)), TEXT, steps=steps, context=8, batch=2,
                     rng=np.random.default_rng(1), peak=1e30)

    with pytest.raises(FloatingPointError, match="lower the learning rate"):
        Training("small", 30, begin).run()


def test_a_resumed_training_goes_on_where_it_ended_and_draws_other_cuts(tmp_path, capsys):
    text = np.random.default_rng(2).integers(0, 256, 2000).astype(np.uint8)
    (tmp_path / "text").write_bytes(text.tobytes())
    *_, last = train(Decoder.create(CONFIG, np.random.default_rng(0)), text, steps=2, context=8, batch=2, rng=np.random.default_rng(1))
    checkpoint.save_training(tmp_path / "model", last.model, CONFIG, mechanism="attention", state=last.state)
    given = ["--text", str(tmp_path / "text"), "--resume", str(tmp_path / "model"), "--out", str(tmp_path / "more"), "--steps", "2"]
    assert main(["train", *given, "--batch", "2", "--seed", "5"]) == 0
    assert "4 steps" in capsys.readouterr().out
    *_, expected = train(last.model, split(text, context=8)[0], steps=2, context=8, batch=2, rng=np.random.default_rng([5, 2]),
                         state=last.state)
    np.testing.assert_array_equal(checkpoint.load_training(tmp_path / "more").decoder.head, expected.model.head)
