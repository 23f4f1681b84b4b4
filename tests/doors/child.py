"""Calls the public functions of one package with damaged arguments, and prints a line per call before and after it.

python child.py PACKAGE FIRST: the calls from number FIRST on. A line is a JSON list: [number, call], then [number, call, fault],
in which the fault is null where all is well. A crash by signal leaves a call without a fault, which the parent attributes.
"""

import gc
import importlib
import json
import resource
import signal
import sys
import warnings

import numpy as np
from damage import NONE, Damage, Instead, damages
from door import Door, called, misnamed, public, same, seen

# Bytes of address space, and seconds of processor time of one call: far more than any call needs, however busy the machine is.
ROOM, PATIENCE = 6 << 30, 20


def outcome(module, name, door, damage):
    """Returns the fault of one call with a damaged argument, or None."""
    arguments = {**door.arguments(), damage.argument: damage.value}
    try:
        got = called(module, name, door, arguments)
    except RuntimeWarning as warning:
        # NumPy says so of inf - inf and 0 * inf, whoever computes them.
        return None if "inf" in damage.kind and "invalid value" in str(warning) else f"RuntimeWarning: {warning}"
    except BaseException as error:
        return misnamed(error, name, damage.argument, (*arguments, *door.also))
    if door.reference is not None:
        try:
            with warnings.catch_warnings(action="ignore"):
                right = seen(door.reference(**arguments))
        except Exception as error:
            return f"returned a value where the reference refuses: {error}"
        # NaN in a slot that some query sees may reach other rows of its head: what is finite on both sides must agree.
        tolerance, partly = 1e-3 if damage.tolerance > 1e-7 else 1e-7, damage.kind.startswith(("nan", "inf", "-inf"))
        return None if same(*(both_finite(got, right) if partly else (got, right)), tolerance) else "differs from the reference"
    if damage.returns == NONE:
        if damage.kind == "NaN" and not finite(got):
            return None
        return f"accepted, and returned {str(got)[:60]!r}"
    if isinstance(damage.returns, Instead):
        try:
            right = called(module, name, door, {**door.arguments(), damage.argument: damage.returns.value})
        except Exception as error:
            return f"returned a value where {damage.returns.value!r:.40} is refused: {error}"
        return None if same(got, right, damage.tolerance) else "differs from the value of what it stands for"
    return None


def both_finite(a, b):
    """Returns two results with 0 wherever one of them is not finite."""
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return tuple(map(list, zip(*map(both_finite, a, b), strict=True)))
    there = np.isfinite(a) & np.isfinite(b)
    return np.where(there, a, 0), np.where(there, b, 0)


def finite(got):
    """Returns whether every number of a result is finite."""
    if isinstance(got, list):
        return all(map(finite, got))
    return not isinstance(got, (np.ndarray, np.generic, float)) or np.asarray(got).dtype.kind not in "fc" or bool(np.isfinite(got).all())


def without(module, name, door, argument):
    """Returns the fault of a call that lacks an argument, or None."""
    arguments = door.arguments()
    del arguments[argument]
    try:
        called(module, name, door, arguments)
    except BaseException as error:
        return misnamed(error, name, argument)
    return None


def refused(module, name, door):
    """Returns the fault of a call of a method that always refuses, or None."""
    try:
        called(module, name, door, door.arguments())
    except ValueError as error:
        return misnamed(error, name, name.split(".")[-1])
    return "does not refuse"


def healthy(module, name, door):
    """Returns the fault of a call with arguments that it takes, or None."""
    try:
        got = called(module, name, door, door.arguments())
        if door.reference is not None and not same(got, seen(door.reference(**door.arguments())), 1e-7):
            return "differs from the reference"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    return None


def calls(module, doors):
    """Yields (call, function that returns its fault) in a fixed order."""
    for name in public(module):
        if name not in doors:
            yield name, lambda name=name: "has no sample arguments"
            continue
        door: Door = doors[name]
        if door.refuses:
            yield name, lambda name=name, door=door: refused(module, name, door)
            continue
        yield name, lambda name=name, door=door: healthy(module, name, door)
        if door.record:
            continue
        made = door.arguments()
        yield f"{name}(zzz=1)", lambda name=name, door=door: outcome(module, name, door, Damage("zzz", "an option that there is not", 1, NONE))
        for argument, value in made.items():
            yield f"{name} without {argument}", lambda name=name, door=door, argument=argument: without(module, name, door, argument)
            for damage in damages(argument, value, door.below.get(argument)):
                huge = argument in door.work and isinstance(damage.value, int) and damage.value >= 1 << 62
                if huge or (damage.value is None and argument in door.optional):
                    continue
                yield f"{name}({argument}={damage.kind})", lambda name=name, door=door, damage=damage: outcome(module, name, door, damage)


def main():
    package, start = sys.argv[1], int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_AS, (ROOM, resource.RLIM_INFINITY))
    samples = importlib.import_module(f"samples_{package}")
    gc.freeze()  # as in tests/conftest.py: compiling walks over what is there again and again
    gc.set_threshold(20_000, 10, 10)
    warnings.simplefilter("error")

    def expired(*_):
        raise TimeoutError(f"still running after {PATIENCE} s of processor time")

    signal.signal(signal.SIGPROF, expired)
    for number, (call, fault) in enumerate(calls(samples.MODULE, samples.DOORS)):
        if number < start:
            continue
        print(json.dumps([number, call]), flush=True)
        signal.setitimer(signal.ITIMER_PROF, PATIENCE)
        said = fault()
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps([number, call, said]), flush=True)


if __name__ == "__main__":
    main()
