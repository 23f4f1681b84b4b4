"""A kernel in a child process: a crash by signal is one finding, and a call that hangs is ended."""

from __future__ import annotations

import io
import json
import multiprocessing
import multiprocessing.connection
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn.testing.conform.failures import Died, Told
from tinyattn.testing.conform.libraries import Library

Function = Callable[..., Any]


class Child:
    """A process that runs the kernel; it is started again after it has died.

    Arrays travel as .npz bytes, numbers as JSON, never as objects. The process is a fork, so that any function can be run,
    a local one or a lambda too.
    """

    def __init__(self, functions: dict[str, Function], library: Library, deadline: float) -> None:
        """Raises ValueError where the system cannot fork."""
        if not hasattr(os, "fork"):
            raise ValueError("isolate: expected a system that can fork, as the kernel runs in a copy of this process")
        self.functions, self.library, self.deadline = functions, library, deadline
        self.process: Any = None
        self.pipe: multiprocessing.connection.Connection | None = None

    def start(self) -> multiprocessing.connection.Connection:
        """Returns the pipe to a living child."""
        if self.pipe is None:
            context = multiprocessing.get_context("fork")
            self.pipe, theirs = context.Pipe()
            self.process = context.Process(target=serve, args=(theirs, self.functions, self.library), daemon=True)
            self.process.start()
            theirs.close()
        return self.pipe

    def end(self) -> None:
        """Ends the child."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
        if self.pipe is not None:
            self.pipe.close()
        self.process = self.pipe = None

    def call(self, name: str, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Returns what a function gives in the child.

        Raises:
            Died: the child ended, or the call did not return in time. Told: what the function raised, by kind and text.
        """
        pipe = self.start()
        pipe.send_bytes(packed({"name": name}, [self.library.take(x) if self.library.owns(x) else x for x in args],
                               {n: self.library.take(x) if self.library.owns(x) else x for n, x in options.items()}))
        if not pipe.poll(max(0.0, self.deadline - time.monotonic())):
            self.end()
            raise Died("a call does not return before the time is over")
        try:
            said, outs, _ = unpacked(pipe.recv_bytes())
        except EOFError:
            self.process.join()
            code = self.process.exitcode
            self.end()
            raise Died(f"a call ends its process: {signal.Signals(-code).name if code < 0 else f'exit code {code}'}") from None
        if "error" in said:
            raise Told(said["error"])
        given = tuple(self.library.give(x, said["dtypes"][n]) for n, x in enumerate(outs))
        return given if said["several"] else given[0]


def isolated(fn: Function, backward: Function | None, library: Library, deadline: float) -> tuple[Function, Function | None]:
    """Returns fn and backward as functions that run in a child process."""
    child = Child({"fn": fn} | ({"backward": backward} if backward else {}), library, deadline)

    def remote(name: str) -> Function:
        def run(*args: Any, **options: Any) -> Any:
            return child.call(name, args, options)

        run.__name__, run.__module__ = getattr(fn, "__name__", "kernel"), getattr(fn, "__module__", "")
        return run

    return remote("fn"), remote("backward") if backward else None


def packed(head: dict[str, Any], args: list[Any], options: dict[str, Any]) -> bytes:
    """Returns a message: JSON for names and numbers, .npz for arrays."""
    plain = {n: x for n, x in options.items() if not isinstance(x, np.ndarray)}
    arrays = {f"option {n}": x for n, x in options.items() if isinstance(x, np.ndarray)} | {f"{i}": x for i, x in enumerate(args)}
    stream = io.BytesIO()
    np.savez(stream, head=np.frombuffer(json.dumps(head | {"plain": plain}).encode(), np.uint8), **arrays)
    return stream.getvalue()


def unpacked(message: bytes) -> tuple[dict[str, Any], list[Any], dict[str, Any]]:
    """Returns what `packed` was given."""
    with np.load(io.BytesIO(message), allow_pickle=False) as file:
        head = json.loads(bytes(file["head"]))
        names = [name for name in file.files if name != "head"]
        args = [file[str(i)] for i in range(sum(name.isdigit() for name in names))]
        options = {name.removeprefix("option "): file[name] for name in names if name.startswith("option ")}
    return head, args, options | {n: tuple(x) if isinstance(x, list) else x for n, x in head.get("plain", {}).items()}


def serve(pipe: multiprocessing.connection.Connection, functions: dict[str, Function], library: Library) -> None:
    """Answers calls until the pipe is closed; runs in the child."""
    while True:
        try:
            head, args, options = unpacked(pipe.recv_bytes())
        except EOFError:
            return
        dtype = head.get("dtype", "float32")
        try:
            named = {n: library.give(x, dtype) for n, x in options.items()}
            out = functions[head["name"]](*(library.give(x, dtype) for x in args), **named)
            outs = list(out) if isinstance(out, (tuple, list)) else [out]
            answer = {"several": isinstance(out, (tuple, list)), "dtypes": [library.dtype_of(x) for x in outs]}
            pipe.send_bytes(packed(answer, [library.take(x) for x in outs], {}))
        except Exception as error:  # whatever a stranger's kernel raises is its answer, and the child goes on
            pipe.send_bytes(packed({"error": f"{type(error).__name__}: {error}"}, [], {}))
