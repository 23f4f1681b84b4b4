"""Whatever is wrong with a call, one argument or two, the definition, its kernel and `tinyattn.NAME` say the same, word for word."""

from inspect import signature
from itertools import combinations_with_replacement

import numpy as np
import pytest

import tinyattn
from tinyattn import kernels
from tinyattn.catalog import ROWS
from tinyattn.laws.problem import Sizes

RNG = np.random.default_rng
COMPILED = [row for row in ROWS if row.kernel is not None]


def arguments(row, q_len, kv_len):
    """Returns arguments that a mechanism takes, by name; options that the sample leaves out are None."""
    made = {name: None for name, option in signature(row.definition).parameters.items() if option.default is None}

    def noted(*given, **options):
        made.update(signature(row.definition).bind(*given, **options).arguments)
        return row.definition(*given, **options)

    row.sample(RNG(3), row.fit(Sizes((2,), 2, 2, q_len, kv_len, 4, 4))).call(row.called(noted))
    return made


def wrong(name, value):
    """Yields values in place of one that is right: of another kind, another shape, out of range."""
    yield object()
    if isinstance(value, np.ndarray):
        yield value[None, None]
        if value.dtype.kind == "f":
            yield np.full_like(value, np.nan)
    elif isinstance(value, tuple):
        yield value * 3
    else:
        yield from (np.nan, -1, np.ndarray)


def said(door, given):
    """Returns the error of a call, None where there is none."""
    try:
        with np.errstate(all="ignore"):
            door(**given)
    except (TypeError, ValueError) as error:
        return type(error), str(error)
    return None


@pytest.mark.parametrize(("q_len", "kv_len"), [(3, 5), (33, 33)])
@pytest.mark.parametrize("row", COMPILED, ids=lambda row: row.name)
def test_two_wrong_arguments_are_refused_in_the_same_words(row, q_len, kv_len):
    right = arguments(row, q_len, kv_len)
    cases = [(name, value) for name in signature(row.definition).parameters for value in wrong(name, right.get(name))]
    refused = 0
    for one, two in combinations_with_replacement(cases, 2):
        if one[0] == two[0] and one is not two:
            continue
        given = right | dict((one, two))
        if (want := said(row.definition, given)) is None:
            continue
        refused += 1
        for door in (getattr(kernels, row.name), getattr(tinyattn, row.name)):
            assert said(door, given) == want, (one, two)
    assert refused > len(cases) / 2


@pytest.mark.parametrize("length", [3, 33])  # on both sides of the size from which `tinyattn.NAME` runs the kernel
@pytest.mark.parametrize("row", COMPILED, ids=lambda row: row.name)
def test_a_missing_argument_is_named_by_all(row, length):
    right = {name: value for name, value in arguments(row, length, length).items() if value is not None}
    for name in right:
        given = {other: value for other, value in right.items() if other != name}
        want = said(row.definition, given)
        if want is None:
            continue
        assert want[1].startswith(f"{name}: "), want
        for door in (getattr(kernels, row.name), getattr(tinyattn, row.name)):
            assert said(door, given) == want, name
