"""How a command ends: with one line on standard error and the right exit code, whatever happens."""

from __future__ import annotations

import codecs
import os
import sys

TYPE_CHECKING = False  # importing typing takes longer than this file, and Ctrl-C is not handled before it is done
if TYPE_CHECKING:
    from typing import Any, TextIO

REFUSED, INTERRUPTED = 2, 130
# The replacements of characters that the encoding of standard output does not have.
PLAIN = {"■": "#", "·": ".", "●": "*", "○": "o", "²": "2"}


def say(line: str) -> None:
    """Prints one line on standard error; if that is closed, the line is dropped and the work goes on."""
    if sys.stderr is not None:
        try:
            print(line, file=sys.stderr, flush=True)
        except (OSError, ValueError):  # closed by the reader, or by this process
            silence(sys.stderr)


def silence(stream: TextIO) -> None:
    """Discards what a stream still has to write, so that the interpreter does not fail on it at its end."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    except (OSError, ValueError):  # a stream without a file descriptor
        pass


def flush() -> int:
    """Writes what is still buffered for standard output and returns the exit code: 0, or 2 if it cannot be written.

    A reader that has stopped reading (`tinyattn list | head`) is not an error.
    """
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        silence(sys.stdout)
    except (OSError, ValueError) as error:
        silence(sys.stdout)
        say(f"tinyattn: standard output: {reason(error)}")
        return REFUSED
    return 0


def reason(error: BaseException) -> str:
    """Returns the message of an error in one line, without its number."""
    if without_memory(error):
        return f"not enough memory; {error}" if str(error) else "not enough memory"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def without_memory(error: BaseException) -> bool:
    """Returns whether an error means that there is not enough memory; a thread that cannot be started means it too."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "start new thread" in str(error))


def open_streams() -> bool:
    """Prepares the standard streams and returns whether there is an output to print to.

    A descriptor that was closed (`>&-`) is opened on the null device: otherwise the next file that is opened would get its
    number, and with it everything that a library prints. Characters that the encoding of the output lacks are replaced.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    if sys.stdout is None:
        say("tinyattn: standard output is closed; send it to a file or to /dev/null")
        return False
    if getattr(sys.stdout, "errors", None) in ("strict", "surrogateescape") and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="tinyattn.plain")
    return True


def plainly(error: UnicodeError) -> tuple[str | bytes, int]:
    """Replaces characters that cannot be encoded: those of our pictures by similar ones, others by their number."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    return "".join(PLAIN.get(c) or c.encode("ascii", "backslashreplace").decode() for c in missing), error.end


codecs.register_error("tinyattn.plain", plainly)


def interrupt_at_once() -> None:
    """Lets Ctrl-C end the process at once, with one line; for use while no file is being written.

    During imports and the clean-up of the interpreter an exception would be printed with its traceback, turned into an
    ImportError, or lost.
    """
    import signal

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a caller may have set it to be ignored
        signal.signal(signal.SIGINT, end_interrupted)


def interrupt_by_exception() -> None:
    """Lets Ctrl-C raise KeyboardInterrupt again, for work that has to clean up or to print what it has so far."""
    import signal

    if signal.getsignal(signal.SIGINT) is end_interrupted:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def end_interrupted(*_: Any) -> None:
    """Prints that the process was interrupted, and ends it."""
    try:
        os.write(2, b"interrupted\n")
    except OSError:
        pass
    os._exit(INTERRUPTED)
