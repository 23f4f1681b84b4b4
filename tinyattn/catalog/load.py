"""A trained model out of its file, whatever its mechanism."""

from __future__ import annotations

import os

from tinyattn.catalog.find import find_mixer
from tinyattn.models import checkpoint
from tinyattn.models.checkpoint import Saved


def load_model(path: str | os.PathLike[str]) -> Saved:
    """Returns (decoder, config, mechanism, state) of a file that `tinyattn train` wrote, with the mechanism that it names.

    Raises:
        ValueError: a file that is no model, an unknown mechanism, and one that mixes no tokens. OSError: a file that cannot be read.

    >>> import tempfile, numpy as np
    >>> from tinyattn.models import Decoder, DecoderConfig, save_training
    >>> config, row = DecoderConfig(layers=1), find_mixer("retention")
    >>> path = os.path.join(tempfile.mkdtemp(), "model")
    >>> save_training(path, Decoder.create(config, np.random.default_rng(0), **row.mixing), config, mechanism=row.name)
    >>> load_model(path).mechanism
    'retention'
    """
    return checkpoint.load(path, mixing=lambda name: find_mixer(name).mixing)
