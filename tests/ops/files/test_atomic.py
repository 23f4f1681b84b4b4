"""Files are written whole or not at all, and what is no regular file is written to as it is."""

import os
import stat
import subprocess
import sys
import threading

import pytest

from tinyattn.ops.files.atomic import check_writable, replacing


def write(path, content=b"new"):
    check_writable(path)
    with replacing(path) as file:
        file.write(content)


def mode_of(path):
    return stat.S_IMODE(os.stat(path).st_mode)


@pytest.fixture
def old(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    return path


def test_text_is_utf_8(tmp_path):
    with replacing(tmp_path / "t", "w") as file:
        file.write("é")
    assert (tmp_path / "t").read_bytes() == "é".encode()


def test_an_error_leaves_the_old_file_and_nothing_else(old):
    with pytest.raises(RuntimeError), replacing(old) as file:
        file.write(b"half")
        raise RuntimeError
    assert old.read_bytes() == b"old"
    assert os.listdir(old.parent) == ["a"]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o755, 0o666])
@pytest.mark.parametrize("without", [(), ("chown", "fchmod")])
def test_a_replaced_file_keeps_its_mode(old, mode, without, monkeypatch):
    for name in without:  # as on Windows
        monkeypatch.delattr(os, name)
    old.chmod(mode)
    write(old)
    assert (old.read_bytes(), mode_of(old)) == (b"new", mode)
    assert os.listdir(old.parent) == ["a"]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_a_new_file_has_the_mode_that_the_umask_gives(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        write(tmp_path / "a")
    finally:
        os.umask(before)
    assert mode_of(tmp_path / "a") == mode


def test_nobody_reads_a_private_file_while_it_is_written(old):
    old.chmod(0o600)
    with replacing(old):
        assert {mode_of(old.parent / name) for name in os.listdir(old.parent)} == {0o600}


def test_a_replaced_file_keeps_its_owner(old, monkeypatch):
    given = []
    there = os.stat(old)
    made = os.stat_result((there.st_mode, 0, 0, 1, there.st_uid + 1, there.st_gid + 2, 3, 0, 0, 0))
    real = os.stat
    monkeypatch.setattr(os, "stat", lambda path, **options: made if str(path).endswith(".part") else real(path, **options))
    monkeypatch.setattr(os, "chown", lambda path, uid, gid: given.append((uid, gid)))
    with replacing(old) as file:
        file.write(b"new")
    assert given == [(there.st_uid, there.st_gid)]

    def refused(path, uid, gid):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refused)
    for attempt in (check_writable, lambda path: write(path, b"newer")):
        with pytest.raises(PermissionError, match=f"{old}: its owner and mode cannot be kept"):
            attempt(old)
    assert old.read_bytes() == b"new"
    assert os.listdir(old.parent) == ["a"]


def test_a_file_that_may_not_be_written_is_refused(old, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    for attempt in (check_writable, write):
        with pytest.raises(PermissionError, match=f"{old} may not be written"):
            attempt(old)


def test_a_symbolic_link_is_followed(old, tmp_path):
    (tmp_path / "far").mkdir()
    links = {"link": old, "chain": tmp_path / "link", "new": tmp_path / "far" / "b"}
    for name, target in links.items():
        (tmp_path / name).symlink_to(target)
        write(tmp_path / name, name.encode())
        assert (tmp_path / name).is_symlink()
        assert target.read_bytes() == name.encode()
    assert old.read_bytes() == b"chain"
    (tmp_path / "ring").symlink_to(tmp_path / "ring")
    with pytest.raises(OSError, match="ring"):
        check_writable(tmp_path / "ring")
    (tmp_path / "nowhere").symlink_to(tmp_path / "no" / "b")
    with pytest.raises(FileNotFoundError, match=f"{tmp_path / 'no'} is not a folder"):
        check_writable(tmp_path / "nowhere")


def test_a_folder_is_refused_by_name(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    for path in (tmp_path, tmp_path / "link", f"{tmp_path}{os.sep}new{os.sep}"):
        for attempt in (check_writable, write):
            with pytest.raises(IsADirectoryError, match=f"{path} is a folder; name a file in it"):
                attempt(path)
    for attempt in (check_writable, write):
        with pytest.raises(FileNotFoundError, match=f"{tmp_path / 'no'} is not a folder; make it first"):
            attempt(tmp_path / "no" / "file")
    assert os.listdir(tmp_path) == ["link"]


def test_an_empty_name_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for attempt in (check_writable, write):
        with pytest.raises(ValueError, match="path: expected the name of a file, got an empty one"):
            attempt("")
    assert os.listdir(tmp_path) == []


def test_a_fifo_is_written_to(tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    read = []
    reader = threading.Thread(target=lambda: read.append(path.read_bytes()), daemon=True)
    reader.start()
    write(path, b"through")
    reader.join(timeout=30)
    assert read == [b"through"]
    assert stat.S_ISFIFO(os.stat(path).st_mode)


def test_a_reader_that_has_gone_is_an_error_of_that_file(tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(BrokenPipeError) as refusal, replacing(path) as file:
        os.close(reader)
        file.write(b"x" * 100_000)
    assert refusal.value.filename == str(path)


def test_a_device_is_written_to(tmp_path):
    full, null = tmp_path / "full", tmp_path / "null"
    try:
        for path, minor in ((full, 7), (null, 3)):  # of the numbers that /dev/full and /dev/null have on Linux
            os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, minor))
        null.write_bytes(b"a device can be opened here")
    except OSError as error:
        pytest.skip(f"no device can be made here: {error}")
    write(null)
    with pytest.raises(OSError, match="No space left") as refusal:
        write(full)
    assert refusal.value.filename == str(full)
    assert stat.S_ISCHR(os.stat(full).st_mode)
    assert stat.S_ISCHR(os.stat(null).st_mode)
    assert sorted(os.listdir(tmp_path)) == ["full", "null"]


def test_standard_output_is_written_to_where_it_stands(tmp_path):
    code = ("import sys; from tinyattn.ops.files.atomic import replacing\nprint('before')\n"
            "with replacing(sys.argv[1], 'w') as file: file.write('between\\n')\nprint('after')")
    with open(tmp_path / "out", "w") as out:
        subprocess.run([sys.executable, "-c", code, str(tmp_path / "out")], stdout=out, check=True)
    assert (tmp_path / "out").read_text() == "before\nbetween\nafter\n"


@pytest.mark.parametrize("call", ["open", "fsync", "replace"])
def test_an_error_of_the_system_names_the_file(old, monkeypatch, call):
    def fail(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match="No space left") as refusal:
        write(old)
    assert refusal.value.filename == str(old)
    monkeypatch.undo()
    assert old.read_bytes() == b"old"
    assert os.listdir(old.parent) == ["a"]


def test_a_name_of_the_greatest_length_can_be_written(tmp_path):
    name = "x" * 255
    write(tmp_path / name)
    assert os.listdir(tmp_path) == [name]
