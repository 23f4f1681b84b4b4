"""Prints one Python interpreter per version from 3.11 up that this machine has, oldest first."""

import os
import shutil
import subprocess
from pathlib import Path

OLDEST = (3, 11)
ASKED = "import sys, venv, ensurepip; print(*sys.version_info[:2])"


def version(python: str) -> tuple[int, int] | None:
    """Returns the version of an interpreter that can make a virtual environment; None for any other file."""
    try:
        done = subprocess.run([python, "-c", ASKED], capture_output=True, text=True)
    except OSError:
        return None
    return tuple(map(int, done.stdout.split())) if done.returncode == 0 else None


def candidates() -> list[str]:
    """Returns what may be an interpreter: those of pyenv, those of uv, and those on the PATH."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR", Path.home() / ".local/share/uv/python"))
    managed = [*pyenv.glob("versions/3.*/bin/python"), *uv.glob("cpython-3.*/bin/python3")]
    on_path = [shutil.which(f"python3.{minor}") for minor in range(OLDEST[1], OLDEST[1] + 20)]
    return [*map(str, managed), *filter(None, [*on_path, shutil.which("python3")])]


def interpreters() -> list[str]:
    """Returns one path per version, oldest version first."""
    found: dict[tuple[int, int], str] = {}
    for python in candidates():
        known = version(python)
        if known is not None and known >= OLDEST:
            found.setdefault(known, python)
    return [found[known] for known in sorted(found)]


if __name__ == "__main__":
    print(*interpreters(), sep="\n")
