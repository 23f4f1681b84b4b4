"""The command line: one file per command, and what commands share.

Its files, in reading order:

    ends.py                 one line and an exit code, however a command ends
    names.py                names in upper or lower case, each given once
    parser.py               the options of a command, refused in one line
    terminal.py             tables, progress and numbers
    outputs.py              files that are checked before the work
    model_file.py           a model out of a file
    memory.py               too large steps refused, freed memory kept
    threads.py              one thread or all, whichever is faster
    training.py             a training, timed or run to its end
    cache_names.py          caches by name
    list.py                 tinyattn list
    show.py                 tinyattn show
    check.py                tinyattn check
    museum.py               tinyattn museum
    picture.py              tinyattn picture
    equivalences.py         tinyattn equivalences
    train.py                tinyattn train
    generate.py             tinyattn generate
    comparing/              what tinyattn compare consists of
    compare.py              tinyattn compare
    presets.py              shapes of well-known models
    cost.py                 tinyattn cost
    timing/                 what tinyattn time measures
    time.py                 tinyattn time
"""

from __future__ import annotations

import sys

from tinyattn.cli import ends

TYPE_CHECKING = False  # this file imports next to nothing, so that Ctrl-C is ours from the first moment
if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = {
    "compare": "train one small model with each mechanism on real text and compare them",
    "train": "train a model and save it",
    "generate": "continue a prompt with a saved model",
    "list": "the mechanisms",
    "show": "a mechanism's definition, formula, shapes, papers and laws",
    "check": "run a mechanism's laws",
    "museum": "wrong attentions, and which law kills which",
    "picture": "draw a mask, in text or as SVG",
    "equivalences": "which mechanism is which, and by what law",
    "time": "measure: a training step, a decoding step, the definition, the kernels, the import",
    "cost": "what a cache holds and a decoding step reads, for a shape or for well-known models",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code: 0, 1 a law failed, 2 bad input, 130 interrupted.

    Without `argv` the command is this process: its arguments are taken, and Ctrl-C may end it at once.
    """
    alone = argv is None
    try:
        if alone:
            ends.interrupt_at_once()
        if not ends.open_streams():
            return ends.REFUSED
        code = answered(sys.argv[1:] if argv is None else argv, alone=alone)
        return ends.flush() or code
    except KeyboardInterrupt:
        ends.say("interrupted")
        return ends.flush() or ends.INTERRUPTED
    finally:
        if alone:
            ends.interrupt_at_once()


def answered(arguments: Sequence[str], *, alone: bool) -> int:
    """Returns the exit code of a command; what it refuses is said in one line."""
    name = "tinyattn"
    try:
        import importlib

        from tinyattn import __version__
        from tinyattn.cli.parser import parsed

        given = parsed(arguments, COMMANDS)
        if given.version:
            print(__version__)
        if given.command is None:
            return 0
        name = f"tinyattn {given.command}"
        command = importlib.import_module(f"tinyattn.cli.{given.command}")
        if alone:
            ends.interrupt_by_exception()
        return int(command.run(given))
    except SystemExit as done:
        return int(done.code or 0)
    except BrokenPipeError as error:
        if error.filename is None:  # whoever read our output has stopped
            ends.silence(sys.stdout)
            return 0
        ends.say(f"{name}: {ends.reason(error)}")
        return ends.REFUSED
    except RuntimeError as error:
        if "start new thread" not in str(error):  # what the system refuses where it has no memory for a thread
            raise
        ends.say(f"{name}: not enough memory; {error}")
        return ends.REFUSED
    except (ValueError, OSError, FloatingPointError, OverflowError, ImportError, MemoryError) as error:
        ends.say(f"{name}: {ends.reason(error)}")
        return ends.REFUSED
