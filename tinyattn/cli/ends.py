"""How the command ends: whatever happens, one line on standard error and the exit code that says it."""

from __future__ import annotations

import codecs
import os
import sys

TYPE_CHECKING = False  # importing typing takes longer than this file, and Ctrl-C is not ours before it is done
if TYPE_CHECKING:
    from typing import Any, TextIO

REFUSED, INTERRUPTED = 2, 130
# What stands in the place of a character that the encoding of standard output does not have.
PLAIN = {"■": "#", "·": ".", "●": "*", "○": "o", "²": "2"}


def say(line: str) -> None:
    """Prints one line on standard error; where nobody listens to it any more, the work goes on."""
    if sys.stderr is not None:
        try:
            print(line, file=sys.stderr, flush=True)
        except (OSError, ValueError):  # closed by the reader, or by this process
            silence(sys.stderr)


def silence(stream: TextIO) -> None:
    """Sends what a stream still holds nowhere, so that the interpreter does not fail on it when it ends."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    except (OSError, ValueError):  # a stream that is no file of this process
        pass


def flush() -> int:
    """Writes out what was printed and returns the exit code that it gives: 0, or 2 where it cannot be written.

    A reader that has stopped reading (`tinyattn list | head`) is no error.
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
    """Returns what an error says, in one line and without its number."""
    if isinstance(error, MemoryError):
        return f"not enough memory; {error}" if str(error) else "not enough memory"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def open_streams() -> bool:
    """Makes the standard streams ready and returns whether there is an output to print to.

    A descriptor that was closed (`>&-`) is opened again on nothing: the next file would get its number otherwise, and with it
    whatever any library prints. Characters that the output's encoding does not have are written plainly.
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
    """Replaces characters that cannot be encoded: the few that we draw with by their like, others by their number."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    return "".join(PLAIN.get(c) or c.encode("ascii", "backslashreplace").decode() for c in missing), error.end


codecs.register_error("tinyattn.plain", plainly)


def interrupt_at_once() -> None:
    """Lets Ctrl-C end the process with one line, here and now.

    An exception would be printed with its traceback, turned into an ImportError or lost, depending on which import or
    which clean-up of the interpreter it hits. Only for a time in which no file is half written.
    """
    import signal

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where the caller has it ignored
        signal.signal(signal.SIGINT, end_interrupted)


def interrupt_by_exception() -> None:
    """Lets Ctrl-C raise KeyboardInterrupt again, for work that has something to clean up or to show."""
    import signal

    if signal.getsignal(signal.SIGINT) is end_interrupted:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def end_interrupted(*_: Any) -> None:
    """Ends the process as interrupted."""
    try:
        os.write(2, b"interrupted\n")
    except OSError:
        pass
    os._exit(INTERRUPTED)
