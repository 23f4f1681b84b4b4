"""Counts false alarms on problems that nobody tuned on: python -m tests.peers.campaign [NAME ...] prints a table."""

import argparse
import importlib.metadata
import time
import warnings
from unittest import mock

from tests.peers.kernels import OWN_DIALECT
from tinyattn.testing import conform
from tinyattn.testing.conform import judge

COMPILED = ("jax",)  # every shape is compiled anew


def counted(make, arrays, preset, seed, outputs, gradients):
    """Returns how many problems were judged, how many of them are over budget, the worst error, and what was found."""
    with warnings.catch_warnings(), mock.patch.multiple(judge, PROBLEMS=outputs, GRADIENTS=gradients):
        warnings.simplefilter("ignore")
        report = conform(make(), arrays=arrays, dialect=preset, gradients=gradients > 0, seed=seed, seconds=1e9)
    return report.problems, report.failed, report.worst, report


def main():
    """Judges each library that is installed, and prints a row per kernel."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="words in the names of what is judged (default: everything)")
    parser.add_argument("--seed", type=int, default=int(time.strftime("%Y%m%d")), help="default: the date")
    parser.add_argument("--outputs", type=int, default=260, help="problems per kernel")
    parser.add_argument("--gradients", type=int, default=140, help="gradients per kernel that has any")
    parser.add_argument("--compiled", type=int, default=44, help="problems of each kind per kernel that compiles every shape")
    given = parser.parse_args()
    print(f"seed {given.seed}\n\n| kernel | version | outputs | alarms | worst | gradients | alarms | worst | s |\n|---|---|---|---|---|---|---|---|---|")
    said = []
    for name, make, arrays, preset, packages in OWN_DIALECT:
        if given.names and not any(word in name for word in given.names):
            continue
        started, few = time.monotonic(), arrays in COMPILED
        outputs, gradients = (given.compiled, given.compiled) if few else (given.outputs, given.gradients)
        try:
            cells, found = [], []
            for counts in ((outputs, 0), (0, gradients)):
                problems, failed, worst, report = counted(make, arrays, preset, given.seed + len(cells), *counts)
                cells += [str(problems), str(failed), f"{worst:.2f}" if problems else "-"]
                found += [f"{name}: {finding.verdict} {finding.question}: {finding.says}" for finding in report.findings if problems]
        except ImportError as error:
            print(f"| {name} | not run: {error} |")
            continue
        said += found
        versions = ", ".join(importlib.metadata.version(package) for package in packages)
        print(f"| {name} | {versions} | {' | '.join(cells)} | {time.monotonic() - started:.0f} |", flush=True)
    print("\n" + "\n".join(said or ["no finding"]))


if __name__ == "__main__":
    main()
