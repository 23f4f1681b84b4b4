"""A kernel that is a program: it reads a safetensors file and writes one."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tinyattn.ops.files.safetensors import load, save
from tinyattn.testing.conform.failures import Died

NOT_SUPPORTED = 64


def program(command: str, deadline: float) -> Callable[..., Any]:
    """Returns a program as a function: `{in}` and `{out}` in the command are the names of the files it reads and writes.

    The file that it reads holds q, k, v and the options that are arrays, masks as bytes 0 and 1; all other options stand in
    the metadata, each as JSON. The file that it writes holds out. Exit code 64 says that an option is not supported.

    Raises:
        ValueError: a command without {in} or {out}, one that cannot be split into words, or a program that is not there.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ValueError(f"command: {error} in {command!r}") from error
    for place in ("{in}", "{out}"):
        if not any(place in word for word in words):
            raise ValueError(f"command: expected {place} in it, where the name of a file goes, got {command!r}")

    if shutil.which(words[0]) is None:
        raise ValueError(f"command: there is no program {words[0]!r} that can be run")

    def kernel(q: Any, k: Any, v: Any, **options: Any) -> Any:
        with tempfile.TemporaryDirectory() as folder:
            read, written = Path(folder) / "in.safetensors", Path(folder) / "out.safetensors"
            arrays = {"q": q, "k": k, "v": v} | {name: x for name, x in options.items() if isinstance(x, np.ndarray)}
            save(read, arrays, metadata={name: json.dumps(x) for name, x in options.items() if name not in arrays})
            line = [word.replace("{in}", str(read)).replace("{out}", str(written)) for word in words]
            try:
                done = subprocess.run(line, capture_output=True, text=True, timeout=max(0.1, deadline - time.monotonic()), check=False)
            except subprocess.TimeoutExpired:
                raise Died("the program does not end before the time is over") from None
            if done.returncode == NOT_SUPPORTED:
                raise NotImplementedError("not supported (exit code 64)")
            if done.returncode < 0:
                raise Died(f"the program ends by signal {-done.returncode}")
            if done.returncode:
                said = done.stderr.strip().splitlines()
                raise RuntimeError(f"exit code {done.returncode}{': ' + said[-1] if said else ''}")
            if not written.exists():
                raise RuntimeError("the program wrote no file {out}")
            answer = load(written)
        if "out" not in answer:
            raise RuntimeError(f"expected an array `out` in the file it wrote, got {', '.join(answer) or 'none'}")
        return answer["out"]

    return kernel
