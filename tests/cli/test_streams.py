"""How the command ends where its streams, its memory or its time are taken away: one line, the right code, no traceback."""

import io
import os
import signal
import subprocess
import sys
import time

import pytest

from tinyattn.cli import ends, main, terminal


class Failing(io.StringIO):
    """A stream that fails when it is written out; its number says how."""

    def __init__(self, number):
        super().__init__()
        self.number = number

    def flush(self):
        raise OSError(self.number, os.strerror(self.number))


def shell(command):
    return subprocess.run(["sh", "-c", f'"$0" -m tinyattn {command}', sys.executable], capture_output=True, text=True)


@pytest.mark.parametrize(("command", "code", "error"), [
    ("list >&-", 2, "tinyattn: standard output is closed; send it to a file or to /dev/null\n"),
    ("list >&- 2>&-", 2, ""), ("nonsense 2>&-", 2, ""), ("--version 2>&- <&-", 0, ""),
])
def test_closed_streams(command, code, error):
    done = shell(command)
    assert (done.returncode, done.stderr) == (code, error)
    assert (done.stdout != "") == ("--version" in command)


def test_no_streams_at_all(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stderr", None)
    assert main(["nonsense"]) == 2
    with terminal.progress("work", 1) as bar:
        bar.step(1, "")
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["list"]) == 2


def test_a_descriptor_that_was_closed_is_not_that_of_the_next_file(tmp_path):
    code = ("import sys; from tinyattn.cli import ends; ends.open_streams(); file = open(sys.argv[1], 'w'); "
            "file.write('descriptor above 2' if file.fileno() > 2 else str(file.fileno()))")
    subprocess.run(["sh", "-c", '"$0" -c "$1" "$2" <&- 2>&-', sys.executable, code, str(tmp_path / "a")], check=True)
    assert (tmp_path / "a").read_text() == "descriptor above 2"


@pytest.mark.parametrize(("number", "code", "error"), [
    (28, 2, "tinyattn: standard output: No space left on device\n"), (5, 2, "tinyattn: standard output: Input/output error\n"), (32, 0, ""),
])
def test_an_output_that_cannot_be_written(number, code, error, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", Failing(number))
    assert main(["picture", "causal"]) == code
    assert capsys.readouterr().err == error


@pytest.mark.parametrize("arguments", [["--help"], ["show", "--help"], []])
def test_help_that_cannot_be_written(arguments, monkeypatch, capsys):
    class Full(io.StringIO):
        def write(self, text):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "stdout", Full())
    assert main(arguments) == 2
    assert capsys.readouterr().err == "tinyattn: No space left on device\n"


@pytest.mark.parametrize("number", [28, 32])
def test_work_goes_on_where_nobody_hears_of_it(number, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stderr", Failing(number))
    done = []
    with terminal.progress("work", 2) as bar:
        for step in (1, 2):
            bar.step(step, "")
            done.append(step)
    assert done == [1, 2]
    assert main(["nonsense"]) == 2
    assert main(["picture", "causal"]) == 0
    assert "causal()" in capsys.readouterr().out


def test_output_into_ascii_keeps_its_shape(monkeypatch, capsys):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, "ascii"))
    assert main(["picture", "causal", "--q-len", "2", "--kv-len", "3"]) == 0
    assert raw.getvalue().splitlines()[1:] == [b"    0 1 2", b" 0  # # .", b" 1  # # #"]
    print("Schlögl \udcff")
    sys.stdout.flush()
    assert raw.getvalue().endswith(b"Schl\\xf6gl \\udcff\n")
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "utf-8"))
    assert main(["picture", "causal", "--q-len", "2", "--kv-len", "2"]) == 0
    assert " 1  ■ ■".encode() in sys.stdout.buffer.getvalue()


@pytest.mark.parametrize("module", ["argparse", "numpy", "tinyattn.ops.masks"])
def test_an_interrupt_during_imports(module):
    code = ("import os, signal, sys\n"
            "class Finder:\n"
            "    def find_spec(self, name, path, target=None):\n"
            f"        if name == {module!r}: os.kill(os.getpid(), signal.SIGINT)\n"
            "sys.meta_path.insert(0, Finder()); sys.argv = ['tinyattn', 'picture', 'causal']\n"
            "from tinyattn.cli import main; sys.exit(main())")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


def test_an_interrupt_during_the_work(monkeypatch, capsys):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("tinyattn.ops.masks.picture.text", interrupted)
    assert main(["picture", "causal"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_interrupts_that_the_caller_ignores_stay_ignored():
    before = signal.getsignal(signal.SIGINT)
    try:
        for handler, at_once in ((signal.default_int_handler, ends.end_interrupted), (signal.SIG_IGN, signal.SIG_IGN)):
            signal.signal(signal.SIGINT, handler)
            ends.interrupt_at_once()
            assert signal.getsignal(signal.SIGINT) is at_once
            ends.interrupt_by_exception()
            assert signal.getsignal(signal.SIGINT) is handler
            assert main(["--version"]) == 0  # a command within another program leaves its signals alone
            assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(("error", "words"), [
    (MemoryError("Unable to allocate 745. GiB"), "tinyattn picture: not enough memory; Unable to allocate 745. GiB\n"),
    (MemoryError(), "tinyattn picture: not enough memory\n"),
    (RuntimeError("can't start new thread"), "tinyattn picture: not enough memory; can't start new thread\n"),
    (OverflowError("too large"), "tinyattn picture: too large\n"), (ImportError("no module"), "tinyattn picture: no module\n"),
    (OSError(13, "Permission denied", "file"), "tinyattn picture: file: Permission denied\n"),
    (BrokenPipeError(32, "Broken pipe", "fifo"), "tinyattn picture: fifo: Broken pipe\n"), (ValueError("two\nlines"), "tinyattn picture: two lines\n"),
    (ValueError(), "tinyattn picture: ValueError\n"),
])
def test_what_goes_wrong_in_the_work_is_one_line(error, words, monkeypatch, capsys):
    def fails(*args, **options):
        raise error

    monkeypatch.setattr("tinyattn.ops.masks.picture.text", fails)
    assert main(["picture", "causal"]) == 2
    assert capsys.readouterr().err == words


def test_an_error_of_ours_is_not_hidden(monkeypatch):
    def fails(*args, **options):
        raise RuntimeError("a bug")

    monkeypatch.setattr("tinyattn.ops.masks.picture.text", fails)
    with pytest.raises(RuntimeError, match="a bug"):
        main(["picture", "causal"])


def test_memory_that_cannot_be_had(tmp_path, capsys, monkeypatch):
    def refused(*args, **options):
        raise MemoryError("Unable to allocate 7 GiB")

    text = tmp_path / "t"
    text.write_bytes(b"abcdefgh " * 300)
    train = ["train", "--out", str(tmp_path / "m"), "--text", str(text), "--context", "16"]
    assert main([*train, "--batch", "100000000000"]) == 2
    assert capsys.readouterr().err == "tinyattn train: --batch: 100000000000 sequences of 16 bytes have more than 16 GiB of logits\n"
    monkeypatch.setattr("tinyattn.models.decoder.Decoder.__call__", refused)
    monkeypatch.setattr(terminal, "SILENCE", 1e6)  # seconds in which a busy machine says what it does
    assert main(train) == 2
    assert capsys.readouterr().err == "tinyattn train: not enough memory; Unable to allocate 7 GiB\n"
    assert os.listdir(tmp_path) == ["t"]


def test_progress_speaks_when_there_is_something_to_say(monkeypatch, capsys):
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    with terminal.progress("work", 100) as bar:
        for done in range(1, 31):
            clock[0] += 3.0
            bar.step(done, "note")
    lines = [line.split()[1] for line in capsys.readouterr().err.splitlines()]
    assert lines == ["4/100", "8/100", "10/100", "14/100", "18/100", "20/100", "24/100", "28/100", "30/100"]


def test_progress_says_that_the_work_has_begun(monkeypatch):
    said = []
    monkeypatch.setattr(terminal, "say", said.append)
    monkeypatch.setattr(terminal, "SILENCE", 0.0)
    with terminal.progress("work", 7):
        waited = time.monotonic() + 30.0
        while not said and time.monotonic() < waited:
            time.sleep(0.001)
    assert said == ["work: 0/7"]


WIDE = (["name", "first", "second"], [["a long name of a case", "1.25", ""], ["b", "10", "x" * 18]])


def test_a_table_that_fits_has_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "48")
    terminal.table(*WIDE, title="title")
    assert capsys.readouterr().out == ("title\nname                   first              second\n"
                                       "---------------------  -----  ------------------\n"
                                       "a long name of a case   1.25\n"
                                       "b                         10  xxxxxxxxxxxxxxxxxx\n")


def test_a_table_that_does_not_fit_has_blocks(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "47")
    terminal.table(*WIDE, title="title")
    assert capsys.readouterr().out == "title\na long name of a case\n  first: 1.25\nb\n  first: 10  second: xxxxxxxxxxxxxxxxxx\n"
    monkeypatch.setenv("COLUMNS", "30")
    terminal.table(*WIDE)
    assert capsys.readouterr().out == "a long name of a case\n  first: 1.25\nb\n  first: 10\n  second: xxxxxxxxxxxxxxxxxx\n"


@pytest.mark.parametrize("arguments", [["list"], ["cost"], ["check", "attention_with_lse", "--examples", "1"],
                                       *([name, "--help"] for name in ("picture", "generate", "train", "cost", "time"))])
def test_lines_fit_a_terminal_of_80_columns(arguments, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert shown
    assert [line for line in shown.splitlines() if len(line) > 80] == []
