"""Threads for matrix products and kernels: one or all, whichever is faster on the machine as busy as it is now."""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from tinyattn import fastest
from tinyattn.cli.ends import say
from tinyattn.cli.parser import arguments_of
from tinyattn.cli.terminal import after_silence

# The variables that the libraries behind NumPy's products read once, when NumPy is imported.
VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "BLIS_NUM_THREADS")
# All threads are used only for a clear gain: beside another program on one of two cores they took up to 6 times as long.
GAIN = 1.2
ROUNDS = 3
ENOUGH = 2.0


def cores() -> int:
    """Returns the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def asked() -> str | None:
    """Returns the variable by which the user has chosen the threads of products, or None."""
    return next((name for name in VARIABLES if os.environ.get(name)), None)


def limitable() -> bool:
    """Returns whether this process can limit the threads of products: whether threadpoolctl is installed."""
    return sys.modules.get("threadpoolctl", True) is not None and importlib.util.find_spec("threadpoolctl") is not None


@contextmanager
def limited(threads: int) -> Iterator[None]:
    """Limits kernels to this many threads, and NumPy's products too where threadpoolctl is installed."""
    with ExitStack() as stack:
        if limitable():
            from threadpoolctl import threadpool_limits
            stack.enter_context(threadpool_limits(threads, user_api="blas"))
        kernel_threads = fastest.kernel("threads")
        if kernel_threads is not None:
            stack.enter_context(kernel_threads(threads))
        yield


def compiling() -> bool:
    """Returns whether no kernel has been compiled on this machine yet."""
    if fastest.kernel() is None:
        return False
    from tinyattn.kernels.tiles.jit import cache_folder
    # The folder exists once kernels have been imported, an index in it once one has been compiled.
    return not any(cache_folder().glob("*.nbi"))


def seconds_of(step: Callable[[], Any], rounds: int = ROUNDS, enough: float = ENOUGH) -> float:
    """Returns the median seconds of a step, from `rounds` steps or as many as begin within `enough` seconds."""
    taken: list[float] = []
    while len(taken) < rounds and (not taken or sum(taken) < enough):
        started = time.perf_counter()
        step()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def chosen(seconds: dict[int, float]) -> int:
    """Returns the number of threads to use, from the seconds of a step by threads: all if one takes 1.2 times as long.

    >>> chosen({1: 1.0, 2: 0.9}), chosen({1: 1.0, 2: 0.6})
    (1, 2)
    """
    most = max(seconds)
    return most if seconds[1] >= GAIN * seconds[most] else 1


def timed(step: Callable[[], Any], name: str, child: Callable[[], float] | None = None) -> dict[int, float]:
    """Returns the seconds of a step with one thread and with all, by the number of threads.

    With one core, or where the user has chosen the threads, only all are timed. Without threadpoolctl `child` returns the
    seconds of a step with one thread. If this takes long, a line says what is timed.
    """
    most = cores()
    note = "; kernels are compiled first, which is done once and takes a while" if compiling() else ""
    with after_silence(f"timing steps of {name}{note}"):
        if asked() or most == 1 or not (limitable() or child):
            step()  # compiles kernels and allocates memory
            return {most: seconds_of(step)}
        if not limitable() and child:
            step()
            return {1: child(), most: seconds_of(step)}
        taken: dict[int, float] = {}
        for number in (1, most):
            with limited(number):
                if not taken:
                    step()
                # If all threads are slower, one step shows it: beside another program on a core it took 20 times as long.
                taken[number] = seconds_of(step, enough=min(ENOUGH, ROUNDS * taken[1]) if taken else ENOUGH)
        return taken


@contextmanager
def fitting(taken: dict[int, float], name: str) -> Iterator[float]:
    """Uses the faster number of threads for what runs inside, prints it, and gives the seconds of a step with it."""
    most = max(taken)
    if len(taken) == 1:
        say(f"threads: {f'as {asked()} says' if asked() else most}; a step of {name} takes {1e3 * taken[most]:.0f} ms")
        yield taken[most]
        return
    number, each = chosen(taken), " and ".join(f"{1e3 * taken[count]:.0f} ms with {count}" for count in (1, most))
    say(f"threads: {number} of {most}; a step of {name} takes {each}")
    with limited(number):
        yield taken[number]


def in_child(sizes: dict[str, Any]) -> float:
    """Returns the seconds of a training step in a new process with one thread for products; infinity if it fails."""
    code = ("import json, sys; from tinyattn.cli.comparing.decoders import print_step_seconds; "
            "print_step_seconds(json.loads(sys.argv[1]))")
    done = subprocess.run([sys.executable, "-c", code, json.dumps(sizes)], env=one_thread(), capture_output=True, text=True)
    return float(done.stdout) if done.returncode == 0 else math.inf


def one_thread() -> dict[str, str]:
    """Returns the environment of a process whose products and kernels use one thread."""
    return {**os.environ, **dict.fromkeys((*VARIABLES, "TINYATTN_THREADS"), "1")}


def again(given: argparse.Namespace) -> int:
    """Runs the same command in a process with one thread for products and returns its exit code."""
    # In a session of its own it gets an interrupt only once, from here, and prints its table once.
    process = subprocess.Popen([sys.executable, "-m", "tinyattn", *arguments_of(given)], env=one_thread(),
                               start_new_session=os.name == "posix")
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            if os.name == "posix":
                process.send_signal(signal.SIGINT)
