"""Classes of arithmetic: python -m tests.testing.conform.classes [LENGTH ...] prints the worst error of each in each, in budgets."""

import argparse

import numpy as np

from tinyattn.laws.precision import classes_of, honest_run, rounded
from tinyattn.testing.conform import budgets
from tinyattn.testing.conform.cases import REGIMES, Case
from tinyattn.testing.conform.dialect import OURS

PAIRS = [("bfloat16", inside) for inside in classes_of("bfloat16")] + [("float16", inside) for inside in classes_of("float16")] + [
    ("float32", inside) for inside in classes_of("float32")]


def worst(dtype, own, judged, length, regimes=REGIMES):
    """Returns the largest error, in budgets of the class `judged`, of a kernel of the class `own`, over the regimes."""
    found = 0.0
    for seed, (spread, offset) in enumerate(regimes):
        p = Case(seed, 1, 1, 1, min(length, 64), length, 32, 32, spread, offset).problem(dtype)
        budget = budgets.of_outputs(p, OURS, judged, dtype, np.random.default_rng(seed))
        # Another order of the keys than the one in which the budget was measured.
        out = p.reordered(np.random.default_rng(seed + 100).permutation(length)).astype(np.float32).call(honest_run(own, dtype))
        found = max(found, budget.spent((rounded(np.asarray(out), dtype).astype(np.float64),)))
    return found


def main():
    """Prints a row per class of the kernel, with the errors in each class that judges it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lengths", nargs="*", type=int, default=[64, 1024, 8192])
    given = parser.parse_args()
    print("| dtype | keys | the kernel's class | " + " | ".join(f"judged as {name}" for name in ("float32", "weights", "all", "tf32")) + " |")
    print("|---|---|---|---|---|---|---|")
    for dtype, own in PAIRS:
        for length in given.lengths:
            cells = [f"{worst(dtype, own, judged, length):.2f}" if judged in classes_of(dtype) else "-"
                     for judged in ("float32", "weights", "all", "tf32")]
            print(f"| {dtype} | {length} | {own} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
