"""The same under MPI, one process per rank; a call that hangs is ended and fails."""

import importlib.util
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tinyattn.models import Decoder, DecoderConfig, load_training, split, train

BESIDE = Path(sys.executable).parent / "mpiexec"
MPIEXEC = str(BESIDE) if BESIDE.exists() else shutil.which("mpiexec")
pytestmark = pytest.mark.skipif(MPIEXEC is None or importlib.util.find_spec("mpi4py") is None, reason="no mpiexec or no mpi4py here")
ROOT = Path(__file__).parents[2]


def under_mpi(ranks, *arguments, timeout=60):
    """Runs a program on so many ranks, with one thread each."""
    threads = {"OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "TINYATTN_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run([MPIEXEC, "-n", str(ranks), sys.executable, "-m", "mpi4py", *map(str, arguments)], capture_output=True,
                          text=True, timeout=timeout, env={**os.environ, **threads}, check=False)


def test_every_scheme_equals_one_process_on_any_number_of_ranks():
    done = under_mpi(5, Path(__file__).parent / "program.py", "schemes", timeout=300)  # fifteen processes' work in five
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["5", "4", "3", "2", "1"]


def test_what_the_first_collective_sees_is_one_error_on_every_rank():
    done = under_mpi(3, Path(__file__).parent / "program.py", "refused")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("program", "name"), [("failing", "ring_attention"), ("absent", "head_parallel_attention_with_lse")])
def test_ctrl_c_in_one_rank_ends_all_of_them_with_one_line(program, name):
    started = time.monotonic()
    done = under_mpi(3, Path(__file__).parent / "program.py", program)
    assert done.returncode != 0
    assert f"{name}: rank 0: KeyboardInterrupt; all ranks end" in done.stderr
    assert "Traceback" not in done.stderr
    assert time.monotonic() - started < 30  # the slow rank sleeps for 30 s: nobody has waited for it


def test_a_training_on_ranks_saves_the_model_of_one_process(tmp_path):
    text = np.random.default_rng(0).integers(32, 127, 1000).astype(np.uint8)
    (tmp_path / "text").write_bytes(text.tobytes())
    out = tmp_path / "model"
    given = ["--text", tmp_path / "text", "--steps", 2, "--context", 12, "--batch", 1, "--out", out]
    done = under_mpi(2, "-m", "tinyattn", "train", "--parallel", "ring", *given)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("2/2") == 1  # one rank shows the progress
    config = DecoderConfig(context=12)
    *_, last = train(Decoder.create(config, np.random.default_rng(0)), split(text, context=12)[0], steps=2, context=12, batch=1,
                     rng=np.random.default_rng([0, 0]))
    saved = load_training(out)
    assert saved.state.steps == 2
    np.testing.assert_allclose(saved.decoder.head, last.model.head, rtol=0, atol=1e-4)  # two steps of about 3e-3 each
    refused = under_mpi(2, "-m", "tinyattn", "train", "--parallel", "states", *given)
    assert refused.returncode != 0
    assert refused.stderr.count("scheme: states is for a decoder of a mechanism of the linear family") == 1
