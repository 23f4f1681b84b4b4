"""Writing a file completely or not at all."""

from __future__ import annotations

import os
import secrets
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

# This many characters of a file's name are kept in that of the temporary file: most systems allow names of at most 255 bytes.
READABLE = 40


@contextmanager
def replacing(path: str | os.PathLike[str], mode: str = "wb") -> Iterator[IO[Any]]:
    """Opens a temporary file beside `path`, which replaces the file at `path` when the block ends without an error.

    If something happens before that (an exception, a full disk, Ctrl-C), the old file stays and the temporary one is removed.
    The new file has the mode and the owner of the old one. Symbolic links are followed. A device, a FIFO, and the standard
    output or error of the process are written to directly.

    Raises:
        OSError: the path is a folder, or nothing can be written there; the error names it. ValueError: the path is empty.

    >>> import tempfile
    >>> with replacing(Path(tempfile.mkdtemp()) / "a.txt", "w") as file:
    ...     _ = file.write("whole")
    """
    encoding = None if "b" in mode else "utf-8"
    with naming(path):
        target, old = place_of(path)
        if old is not None and (not stat.S_ISREG(old.st_mode) or standard_stream(old) is not None):
            with open(opened_as(path, old), mode, encoding=encoding) as file:
                yield file
            return
        temporary = made_beside(target, old)
        try:
            with open(temporary, mode, encoding=encoding) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raises OSError at once if `replacing(path)` could not put a file there.

    >>> import tempfile
    >>> check_writable(Path(tempfile.mkdtemp()) / "a.txt")
    """
    with naming(path):
        target, old = place_of(path)
        if old is None or stat.S_ISREG(old.st_mode):
            os.unlink(made_beside(target, old))


@contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Makes errors of the operating system name this path where they name no path, or that of a temporary file."""
    try:
        yield
    except OSError as error:
        if error.errno is None or (isinstance(error.filename, str) and not error.filename.endswith(".part")):
            raise
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error


def place_of(path: str | os.PathLike[str]) -> tuple[Path, os.stat_result | None]:
    """Returns the file that a path leads to, after all symbolic links, and the status of the file there now, or None."""
    if not os.fspath(path):
        raise ValueError("path: expected the name of a file, got an empty one")
    target = Path(os.path.realpath(path))
    try:
        old = os.stat(path)
    except FileNotFoundError:
        old = None
    if os.fspath(path).endswith((os.sep, os.altsep or os.sep)) or (old is not None and stat.S_ISDIR(old.st_mode)):
        raise IsADirectoryError(f"{path} is a folder; name a file in it")
    if old is None and not target.parent.is_dir():
        raise FileNotFoundError(f"{target.parent} is not a folder; make it first")
    if old is not None and not os.access(path, os.W_OK):
        raise PermissionError(f"{path} may not be written; change its mode or name another file")
    return target, old


def made_beside(target: Path, old: os.stat_result | None) -> str:
    """Makes an empty file beside the target, with the owner and the mode of the old one, and returns its name."""
    temporary = str(target.with_name(f".{target.name[:READABLE]}.{secrets.token_hex(4)}.part"))
    # Nobody else may read the new file before it has the mode of the old one. Without an old file, the umask decides.
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666 if old is None else 0o600))
    if old is not None:
        try:
            made = os.stat(temporary)
            if hasattr(os, "chown") and (made.st_uid, made.st_gid) != (old.st_uid, old.st_gid):
                os.chown(temporary, old.st_uid, old.st_gid)
            os.chmod(temporary, stat.S_IMODE(old.st_mode))
        except OSError as error:
            os.unlink(temporary)
            raise PermissionError(f"{target}: its owner and mode cannot be kept ({error.strerror}); name another file") from error
    return temporary


def standard_stream(old: os.stat_result) -> int | None:
    """Returns the descriptor of standard output or error if it is this same file, as `/dev/stdout` is; otherwise None."""
    for descriptor in (1, 2):
        with suppress(OSError):  # the stream is closed
            if os.path.samestat(old, os.fstat(descriptor)):
                return descriptor
    return None


def opened_as(path: str | os.PathLike[str], old: os.stat_result) -> str | os.PathLike[str] | int:
    """Returns an argument of `open` for a file that is written to directly: its path, or a copy of its open descriptor.

    Standard output needs the descriptor: opened anew, a file would be overwritten from its start.
    """
    descriptor = standard_stream(old)
    if descriptor is None:
        return path
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    return os.dup(descriptor)
