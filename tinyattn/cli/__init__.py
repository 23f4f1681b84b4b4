"""The command line: one file per command.

Its files, in reading order:

    ends.py                 one line and an exit code, however it ends
    names.py                names in any case, each once
    parser.py               options, refused in one line
    terminal.py             tables and progress
    outputs.py              files checked before the work
    model_file.py           a model out of a file
    memory.py               memory refused, and freed memory kept
    threads.py              one thread or all, whichever is faster
    list.py                 tinyattn list
    show.py                 tinyattn show
    check.py                tinyattn check
    museum.py               tinyattn museum
    picture.py              tinyattn picture
    equivalences.py         tinyattn equivalences
    train.py                tinyattn train
    cache_names.py          caches by name
    generate.py             tinyattn generate
    trained.py              a model, trained and writing
    plan.py                 the jobs of a comparison, and how long they take
    compare_table.py        tables of 80 columns, legends, samples
    compare_text.py         what text compares
    compare_caches.py       one model through many caches
    compare_digits.py       what digits compare
    compare.py              tinyattn compare
    presets.py              shapes of well-known models
    cost.py                 tinyattn cost
    torch_step.py           the same training step in PyTorch
    measure.py              seconds, in turns
    time_train.py           the training step's table
    step_by_hand.py         decoding without any of this
    time_generate.py        the decoding step's table
    time_caches.py          a long text's decoding step, cache by cache
    kernel_cases.py         what the kernels' table measures
    peers.py                other libraries' attention
    time_kernels.py         the kernels' table
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
    "vectors": "write inputs, outputs and allowed errors for kernels in any language",
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
