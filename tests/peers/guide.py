"""Runs what the guide shows for other libraries: python -m tests.peers.guide docs/guides/kernel.md writes the date and versions."""

import argparse
import contextlib
import datetime
import importlib.metadata
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

from tinyattn import testing
from tinyattn.cli import main as tinyattn
from tinyattn.testing import conform

RUST = Path(__file__).parents[2] / "docs" / "vectors" / "kernel.rs"
MINE = "def mine(q, k, v, *, causal=False, window=None):\n    raise NotImplementedError\n"


def blocks(text, language):
    """Returns the blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


def peers(text):
    """Returns the blocks that need another library, with its name."""
    return [(re.match(r"# peer: (\S+)", block).group(1), block) for block in blocks(text, "python") if block.startswith("# peer:")]


def promised(block):
    """Returns the verdicts that a block says it prints."""
    return re.findall(r"^print\(conform\(.*\)\)  # (\w+)$", block, re.M)


def judged(name, block):
    """Runs a block, and raises RuntimeError where its verdicts are not those that it promises."""
    found = []

    def noted(*args, **options):
        report = conform(*args, **options)
        found.append(report.verdict)
        return report

    with mock.patch.object(testing, "conform", noted):
        exec(compile(block, f"<guide: {name}>", "exec"), {"__name__": "guide"})
    if found != promised(block):
        raise RuntimeError(f"the block for {name} promises {promised(block)}, and its verdicts are {found}")


def run(text):
    """Runs the blocks in an empty folder, C and Rust too, and returns the versions they ran with."""
    versions, start = {}, Path.cwd()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        Path("my_kernels.py").write_text(MINE)
        for block in blocks(text, "c"):
            name, command = re.match(r"/\* (\S+): (.*?) \*/", block).groups()
            Path(name).write_text(block)
            subprocess.run(command.split(), check=True)
            versions["gcc"] = subprocess.run(["gcc", "-dumpfullversion"], check=True, capture_output=True, text=True).stdout.strip()
        subprocess.run(["rustc", "--edition", "2021", "-O", str(RUST), "-o", "kernel"], check=True)
        versions["rustc"] = subprocess.run(["rustc", "--version"], check=True, capture_output=True, text=True).stdout.split()[1]
        if tinyattn(["check", "--command", "./kernel {in} {out}"]):
            raise RuntimeError("the program in Rust does not conform")
        sys.path.insert(0, folder)
        for name, block in peers(text):
            print(f"--- {name}", flush=True)
            judged(name, block)
            if name != "c":
                versions[name] = importlib.metadata.version(name)
    if Path.cwd() != start:
        raise RuntimeError("a block changes the folder")
    return ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))


def main():
    """Runs the blocks and notes it on the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    given = parser.parse_args()
    text = given.file.read_text()
    line = f"<!-- run: {datetime.date.today()}, {run(text)} -->"
    given.file.write_text(re.sub(r"^<!-- run: .* -->$", line, text, flags=re.M))
    print(line)


if __name__ == "__main__":
    main()
