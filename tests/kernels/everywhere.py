"""Every kernel of the catalog beside its definition, for a process with other settings of Numba: python tests/kernels/everywhere.py DTYPE."""

import sys

import numpy as np

from tinyattn import definitions, kernels, vjp
from tinyattn.catalog import ROWS
from tinyattn.laws.law import outputs
from tinyattn.laws.problem import Sizes

NAMES = sorted(set(kernels.__all__) & set(definitions.__all__))
OWN = {form: row for row in ROWS for form in (*row.forms.values(), row.definition)}
SMALL = Sizes((), 1, 2, 5, 9, 4, 4), Sizes((), 2, 1, 10, 10, 4, 4)
LARGE = Sizes((), 1, 2, 66, 70, 8, 8), Sizes((), 1, 1, 130, 130, 16, 16)


def slopes(f, p):
    """Returns the output and the gradients of q, k, v and of all floating options."""
    tree = {"q": p.q, "k": p.k, "v": p.v, **{n: x for n, x in p.options.items() if isinstance(x, np.ndarray) and x.dtype.kind == "f"}}
    out, pull = vjp(lambda t: outputs(p.but(**t).call(f))[0], tree)
    return {"out": out, **pull(np.cos(np.arange(out.size)).reshape(out.shape).astype(out.dtype))}


def check_all(dtype, names, sizes):
    """Raises AssertionError unless the kernels of these names are right."""
    near = 1e-8 if dtype == "float64" else 2e-3  # what a fault leaves is far larger; accuracy is measured elsewhere
    for name in names:
        row = OWN[getattr(definitions, name)]
        for at, given in enumerate(sizes):
            p = row.sample(np.random.default_rng(at), row.fit(given))
            want = slopes(row.called(getattr(definitions, name)), p)
            got = slopes(row.called(getattr(kernels, name)), p.astype(dtype))
            for array, value in want.items():
                # Of the largest number of an array: where a normaliser is near 0, its small numbers are differences of large ones.
                np.testing.assert_allclose(got[array], value, rtol=0, atol=near * max(1.0, np.abs(value).max(initial=0.0)),
                                           err_msg=f"{name}: {array}")


if __name__ == "__main__":
    check_all(sys.argv[1], sys.argv[2].split(","), SMALL if sys.argv[3] == "small" else SMALL + LARGE)
