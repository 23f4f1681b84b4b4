"""Wrong kernels before the kit: python -m tests.testing.conform.faults [--dtype bfloat16 [--inside float32]] [NAME ...] prints a row for each.

A row holds the kernel, the verdict, the question of the first finding, the nearest known bug, and seconds.
"""

import argparse
import re
import time

import ml_dtypes  # noqa: F401 - its bfloat16 is a dtype of NumPy from here on
import numpy as np

from tests.testing.conform.wrong import WRONG
from tinyattn.definitions import attention, attention_with_lse
from tinyattn.engine import vjp
from tinyattn.testing import MUSEUM, conform
from tinyattn.testing.broken import gradient

# Twins of a hand-made kernel under another name; the others have the name of their twin.
TWIN = {"base 2": None, "10 % too hot": None, "0.1 % too hot": None, "zeros": None, "last_block_dropped": "blocks_of_64_dropped",
        "causal_one_late": "causal_sees_the_next", "tiled_heads": "kv_heads_tiled", "sink_twice": "sink_counted_twice",
        "top_left": "causal_top_left", "swallows_options": None, "random_numbers": None, "changes_its_keys": None}
# What no option that the kit draws can show.
UNREACHED = {"mask_of_the_first_head": "its masks have axes of size 1", "pattern_without_offset": "its masks are patterns of tinyattn",
             "hidden_times_zero": "it is right for finite numbers; the report notes the hazard",
             "unseen_gradients_are_nan": "it is right for finite numbers", "reads_memory_flat": "its arrays are transposed",
             "reads_bytes_as_native": "its arrays are of another byte order"} | dict.fromkeys(
    ("rule_after_bias", "rule_before_cap", "rule_positions_from_the_top", "rule_parameter_of_another_head", "rule_added_up_where_hidden"),
    "its score rules are functions of tinyattn")


def museum():
    """Returns the twins of softmax attention, as kernels, with what they compute."""
    rows = {"attention": attention, "streaming_attention": attention, "attention_with_lse": attention_with_lse}
    return {twin.name: (twin.breaks(rows[twin.row]), "attention_with_lse" if twin.row == "attention_with_lse" else "attention")
            for twin in MUSEUM if twin.row in rows and twin.cache is None and twin.name not in UNREACHED}


def stored(kernel, dtype):
    """Returns a kernel that computes in float32 and stores its output in another dtype; what it does to its arguments stays."""
    def narrow(q, k, v, **options):
        wide = {name: x.astype(np.float32) if getattr(x, "dtype", None) == dtype else x for name, x in options.items()}
        arrays = [x.astype(np.float32) for x in (q, k, v)]
        out = kernel(*arrays, **wide)
        for given, changed in zip((q, k, v), arrays, strict=True):
            given[...] = changed
        outs = [x.astype(dtype) if x.dtype == np.float32 else x for x in (out if isinstance(out, tuple) else (out,))]
        return tuple(outs) if isinstance(out, tuple) else outs[0]
    return narrow


def backward_of(kernel, dtype):
    """Returns the backward of a kernel that computes in float32, its gradients stored in another dtype."""
    def backward(q, k, v, d_out, **options):
        single = [x.astype(np.float32) for x in (q, k, v)]
        wide = {name: x.astype(np.float32) if getattr(x, "dtype", None) == dtype else x for name, x in options.items()}
        _, pull = vjp(lambda given: kernel(*given, **wide), tuple(single))
        return tuple(x.astype(dtype) for x in pull(d_out.astype(np.float32)))
    return backward


def judged(kernel, like="attention", dtype="float32", **options):
    """Returns the report, and the name of the bug that is named first."""
    given = kernel if dtype in ("float32", "float64") else stored(kernel, dtype)
    report = conform(given, like=like, dtype=dtype, **{"gradients": dtype == "float32", **options})
    named = [name for finding in report.findings for name in re.findall(r"`(\w+)`, which", finding.nearest)]
    return report, named[0] if named else ""


def of_gradients(name, kernel, dtype):
    """Returns the options of `conform` for a twin whose fault is in its gradients, which 16-bit kernels pass as `backward`."""
    wrong = hasattr(gradient, name) and dtype not in ("float32", "float64")
    return {"backward": backward_of(kernel, dtype), "gradients": True} if wrong else {}


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="words in the names of what is judged (default: everything)")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--inside", help="the class of arithmetic that judges them (default: the loosest of the dtype)")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    kernels = [(name, kernel, "attention", TWIN.get(name, name)) for name, kernel in WRONG.items()]
    kernels += [(name, kernel, like, name) for name, (kernel, like) in museum().items()]
    print("| kernel | verdict | first question | nearest bug | named | s |\n|---|---|---|---|---|---|")
    for name, kernel, like, twin in kernels:
        if given.names and not any(word in name for word in given.names):
            continue
        started = time.monotonic()
        report, named = judged(kernel, like, given.dtype, seed=given.seed, inside=given.inside, **of_gradients(name, kernel, given.dtype))
        first = report.findings[0].question if report.findings else ""
        right = "" if twin is None else "yes" if named == twin else "no"
        print(f"| {name} | {report.verdict} | {first} | {named} | {right} | {time.monotonic() - started:.1f} |", flush=True)


if __name__ == "__main__":
    main()
