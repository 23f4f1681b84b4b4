"""The command line: one file per command, and what commands share.

Its files, in reading order:

    ends.py                 one line and an exit code, however a command ends
    names.py                names in upper or lower case, each given once
    parser.py               the options of a command, refused in one line
    terminal.py             tables, progress and numbers
    outputs.py              files that are checked before the work
    model_file.py           a model out of a file
    memory.py               refuses steps that are too large, keeps freed memory
    threads.py              one thread or all, whichever is faster
    training.py             a training, timed or run to its end
    ranks.py                commands on many ranks
    cache_names.py          caches by name
    list.py                 tinyattn list
    show.py                 tinyattn show
    check_kernel.py         tinyattn check module:function
    check.py                tinyattn check
    vectors.py              tinyattn vectors
    museum.py               tinyattn museum
    picture.py              tinyattn picture
    equivalences.py         tinyattn equivalences
    train.py                tinyattn train
    real.py                 what commands on trained models share
    generate.py             tinyattn generate
    run.py                  tinyattn run
    perplexity.py           tinyattn perplexity
    heads_page.py           the page of tinyattn heads
    heads.py                tinyattn heads
    embed.py                tinyattn embed
    comparing/              what tinyattn compare consists of
    compare.py              tinyattn compare
    presets.py              shapes of well-known models
    cost_of_ranks.py        the costs of one sequence over ranks
    cost.py                 tinyattn cost
    timing/                 what tinyattn time measures
    time.py                 tinyattn time
"""

from __future__ import annotations

import sys

from tinyattn.cli import ends

TYPE_CHECKING = False  # this file imports next to nothing, so that Ctrl-C is handled as early as possible
if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = {
    "compare": "train one small model with each mechanism on real text and compare them",
    "train": "train a model and save it",
    "run": "continue a prompt with a model",
    "generate": "another name of run",
    "perplexity": "measure how likely a model finds a text, as it is and with another cache or other positions",
    "heads": "say which heads of a model look at the token before, the first token, near tokens or repeats",
    "embed": "print how similar texts are by an encoder model",
    "list": "list the mechanisms",
    "show": "print the definition, the papers and the laws of a mechanism",
    "check": "run the laws of a mechanism, or judge a kernel of your own",
    "vectors": "write inputs, outputs and allowed errors as files, for tests in any language",
    "museum": "run the laws on wrong attentions and print which law catches which",
    "picture": "draw a mask, in text or as SVG",
    "equivalences": "print which mechanisms are equal, and by which law",
    "time": "measure training, decoding, the definition, the kernels or the import",
    "cost": "compute the bytes that a cache holds and a decoding step reads",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code: 0, 1 when a law fails, 2 for bad input, 130 when interrupted.

    Without `argv` the arguments are those of this process, and Ctrl-C may end it at once.
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
    """Runs a command and returns its exit code; an error of bad input is printed in one line."""
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
    except (ValueError, OSError, FloatingPointError, OverflowError, ImportError, MemoryError, RuntimeError) as error:
        if isinstance(error, BrokenPipeError) and error.filename is None:  # the reader of our output has closed it
            ends.silence(sys.stdout)
            return 0
        if isinstance(error, RuntimeError) and not ends.without_memory(error):
            raise
        ends.say(f"{name}: {ends.reason(error)}")
        return ends.REFUSED
