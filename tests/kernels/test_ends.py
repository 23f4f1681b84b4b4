"""How a call of the kernels ends: interrupted, failing, asked for more threads than there are; and on what machine."""

import os
import platform
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from tinyattn import kernels

threads = sys.modules["tinyattn.kernels.tiles.threads"]  # the package's attribute of this name is the function


def test_a_failing_task_stops_the_others_and_is_heard():
    taken, started = [], threading.Barrier(2)

    def task(counter):
        started.wait()
        while (number := threads.next_task_in_python(counter)) < 1000:
            taken.append(number)
            if number == 3:
                raise ArithmeticError("task 3")
            time.sleep(0.001)

    with threads.threads(2), pytest.raises(ArithmeticError, match="task 3"):
        threads.run(task, 1000, 1 << 40)
    assert len(taken) < 1000
    seen = len(taken)
    time.sleep(0.05)
    assert len(taken) == seen, "a task went on after the call had ended"


def test_an_interrupted_call_ends_soon_and_the_next_is_right():
    # Processor time is compared, and the process interrupts itself: a busy neighbour delays both alike.
    code = """
import os, signal, threading, time
import numpy as np
from tinyattn import kernels
x = np.random.default_rng(0).standard_normal((8, 300, 16))
want = kernels.attention(x, x, x, causal=True)
long = np.zeros((64, 4096, 64), np.float32)
kernels.attention(long[:1, :64], long[:1, :64], long[:1, :64])
started = time.process_time()
kernels.attention(long[:1], long[:1], long[:1])
whole = 64 * (time.process_time() - started)
started = time.process_time()
try:
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    kernels.attention(long, long, long)
    print("finished")
except KeyboardInterrupt:
    print("interrupted")
print(time.process_time() - started < whole / 3)
print(np.array_equal(kernels.attention(x, x, x, causal=True), want))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          env={**os.environ, "TINYATTN_THREADS": "2"})
    assert done.stdout.split() == ["interrupted", "True", "True"], done.stdout + done.stderr


@pytest.mark.parametrize("number", [1, 64])
def test_any_number_of_threads_is_right(number):
    x = np.random.default_rng(0).standard_normal((8, 600, 16))
    want = kernels.attention(x, x, x, causal=True)
    with kernels.threads(number):
        np.testing.assert_array_equal(kernels.attention(x, x, x, causal=True), want)


@pytest.mark.machine
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names x86 processors")
@pytest.mark.parametrize(("cpu", "features", "lanes", "dtype", "near", "backward"), [  # each compiles for seconds
    ("haswell", "+avx,+avx2,+fma,-avx512f", 8, "float32", 1e-4, True),
    ("x86-64", "+sse2,-avx", 4, "float32", 1e-4, True),
    ("x86-64", "+sse2,-avx", 4, "float64", 1e-11, False)], ids=["haswell-float32", "x86-64-float32", "x86-64-float64"])
def test_on_a_smaller_machine(cpu, features, lanes, dtype, near, backward, tmp_path):
    code = f"""
import numpy as np
from tinyattn.kernels.tiles import lanes
assert lanes.lanes(4) == {lanes}, lanes.lanes(4)
dtype, near, backward = np.{dtype}, {near}, {backward}
""" + """
from tinyattn import definitions, kernels, vjp
from tinyattn.ops import masks
rng = np.random.default_rng(0)
for q_len, kv_len, d in ((70, 90, 24), (1, 300, 64), (150, 150, 16)):
    q, k, v = (rng.standard_normal((4, n, d)).astype(dtype) for n in (q_len, kv_len, kv_len))
    options = dict(causal=True, softcap=2.0, sinks=np.zeros(4, dtype), bias=rng.standard_normal((4, q_len, kv_len)).astype(dtype))
    if q_len == 150:
        options["mask"] = masks.window(20, 3) | masks.first(2)
    sides = [vjp(lambda t: f(*t, **options), (q, k, v)) for f in (definitions.attention, kernels.attention)]
    np.testing.assert_allclose(sides[1][0], sides[0][0], rtol=near, atol=near)
    for a, b in zip(sides[0][1](q), sides[1][1](q)) if backward else ():
        np.testing.assert_allclose(b, a, rtol=near, atol=10 * near)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True,
                          env={**os.environ, "NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": features, "NUMBA_CACHE_DIR": str(tmp_path),
                               "NUMBA_BOUNDSCHECK": "1" if lanes == 4 and backward else "0"})
    assert done.returncode == 0, done.stderr


@pytest.mark.machine
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names x86 processors")
def test_chosen_blocks_and_steps_with_registers_of_16_bytes_and_bounds_checked(tmp_path):
    code = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
import numpy as np, test_chosen, test_steps, test_top_k
from tinyattn.kernels.tiles import lanes
assert lanes.lanes(4) == 4, lanes.lanes(4)
test_chosen.check_all(np.float32)
test_top_k.check_all(np.float32)
test_steps.check_all(np.float32)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True,
                          env={**os.environ, "NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": "+sse2,-avx", "NUMBA_BOUNDSCHECK": "1",
                               "NUMBA_CACHE_DIR": str(tmp_path)})
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("started", [0, 1, 3])
def test_parts_of_rows_are_all_done_where_no_thread_can_be_started(started, monkeypatch):
    jobs, submit, done = [], threads.POOL.submit, []

    def some(*arguments):
        if len(jobs) == started:
            raise RuntimeError("can't create new thread at interpreter shutdown")
        jobs.append(submit(*arguments))
        return jobs[-1]

    monkeypatch.setattr(threads.POOL, "submit", some)
    with threads.threads(4):
        threads.each(done.append, 11, threads.LEAST_SIZE)
    assert sorted(done) == list(range(11))


@pytest.mark.parametrize("error", [KeyboardInterrupt, ArithmeticError])
def test_parts_of_rows_stop_when_the_caller_is_interrupted(error):
    done, started = [], threading.Barrier(2)

    def task(n):
        if n < 2:
            started.wait()
        if n == 0:
            raise error
        time.sleep(0.01)
        done.append(n)

    with threads.threads(2), pytest.raises(error):
        threads.each(task, 1000, threads.LEAST_SIZE)
    seen = len(done)
    assert seen < 500
    time.sleep(0.05)
    assert len(done) == seen, "a task went on after the call had ended"


def test_jobs_that_were_begun_before_an_interruption_end_with_the_call(monkeypatch):
    taken, submit = [], threads.POOL.submit

    def once(*arguments):
        if taken or jobs:
            raise KeyboardInterrupt
        jobs.append(submit(*arguments))
        return jobs[0]

    def task(counter):
        while (number := threads.next_task_in_python(counter)) < 1000:
            taken.append(number)
            time.sleep(0.01)

    jobs = []
    monkeypatch.setattr(threads.POOL, "submit", once)
    with threads.threads(2), pytest.raises(KeyboardInterrupt):
        threads.run(task, 1000, 1 << 40)
    assert jobs[0].ended
    assert len(taken) < 1000


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer that interrupts")
def test_calls_go_on_after_many_interruptions_at_any_place():
    # When futures were waited for, such an interruption cost a thread, and soon a call waited for ever.
    code = """
import random, signal, sys
import numpy as np
from tinyattn import kernels
threads, rng, x, out = sys.modules["tinyattn.kernels.tiles.threads"], random.Random(0), np.ones(1 << 15), np.empty((8, 1 << 15))

def interrupt(*_):
    raise KeyboardInterrupt

signal.signal(signal.SIGALRM, interrupt)
for _ in range(1500):
    try:
        signal.setitimer(signal.ITIMER_REAL, 1e-5 + rng.random() * 4e-4)
        with threads.threads(2):
            threads.each(lambda n: np.sqrt(x, out=out[n]), 8, out.size)
        signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        pass
    signal.setitimer(signal.ITIMER_REAL, 0)
print("done")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("done\n", ""), done.stderr
