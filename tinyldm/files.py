"""Nothing is lost: what is written goes to a temporary name first and is renamed when whole."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path as FilePath
from typing import IO

from safetensors import SafetensorError, safe_open
from torch import Tensor

from .errors import expect

SAVING, SAVED = ".saving-", ".saved"  # what is being written into a folder, and what has been and is on its way


@contextmanager
def atomic_file(target: str | os.PathLike) -> Iterator[FilePath]:
    """Yield a temporary path beside ``target``; it takes the target's place only if the block succeeds."""
    target = FilePath(target).expanduser()
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    os.close(handle)
    try:
        yield FilePath(name)
        os.chmod(name, 0o644)  # whoever wrote it may have put another file in its place
        os.replace(name, target)
    finally:
        FilePath(name).unlink(missing_ok=True)


@contextmanager
def locked(target: str | os.PathLike, argument: str) -> Iterator[None]:
    """Hold ``target`` for this process; what a killed one left half-written beside it is removed.

    The system lets go of the lock when its process ends, however it ends. Where there are no such locks (Windows, some
    network drives) nothing is held. Raises ``ValueError`` naming ``argument`` when another process holds the file or the
    target is a folder, ``OSError`` when nothing can be written there.
    """
    target = FilePath(target)
    expect(not target.is_dir(), argument, f"{target}, a folder", "the name of a file")
    lock = target.with_name(f".{target.name}.lock")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        file = open(lock, "a+")  # noqa: SIM115
    except OSError as error:
        raise type(error)(f"{argument}: nothing can be written in {target.parent} ({error.strerror})") from error
    with file:
        if not _alone(file):
            file.seek(0)
            raise ValueError(f"{argument}: {target} is being written by process {file.read() or '?'}; name another file")
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        try:
            for stray in target.parent.iterdir():
                if stray.name.startswith(f".{target.name}.") and stray != lock:
                    stray.unlink()
            yield
        finally:
            lock.unlink(missing_ok=True)


def _alone(file: IO) -> bool:
    """Take the lock of an open file; false if another has it, or had it until just now."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return True
    return os.fstat(file.fileno()).st_nlink > 0


@contextmanager
def atomic_folder(target: str | os.PathLike) -> Iterator[FilePath]:
    """Yield an empty folder, whose files take their places in ``target`` only if the block succeeds, all or none.

    Both are one folder in the end, so that its permissions, a link to it and its other files stay. The moment at which
    the new replaces the old is one renaming, of the yielded folder to ``SAVED``: what waits there counts as being in its
    place, see ``current``, whenever the program may be killed. What a killed one left is cleared away by the next.
    """
    target = FilePath(target).expanduser()
    fresh_target = not target.exists()
    target.mkdir(parents=True, exist_ok=True)
    for stray in target.glob(f"{SAVING}*"):
        shutil.rmtree(stray, ignore_errors=True)
    fresh = FilePath(tempfile.mkdtemp(dir=target, prefix=SAVING))
    try:
        yield fresh
        for file in fresh.iterdir():
            file.chmod(0o644)
        _settle(target)  # what an earlier program committed to and did not finish
        os.replace(fresh, target / SAVED)
        _settle(target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        if fresh_target and not any(target.iterdir()):
            target.rmdir()


def _settle(folder: FilePath) -> None:
    """Move the files that wait in ``SAVED`` to their places."""
    saved = folder / SAVED
    if saved.is_dir():
        for file in saved.iterdir():
            os.replace(file, folder / file.name)
        saved.rmdir()


def current(folder: str | os.PathLike, name: str) -> FilePath:
    """Where a file of a folder that ``atomic_folder`` wrote is: in its place, unless the program was killed on the way."""
    folder = FilePath(folder).expanduser()
    waiting = folder / SAVED / name
    return waiting if waiting.is_file() else folder / name


@contextmanager
def open_safetensors(path: str | os.PathLike) -> Iterator[safe_open]:
    """An open safetensors file, whose tensors are read when asked for.

    Raises ``FileNotFoundError`` when it is not there and ``ValueError`` when it is truncated or not safetensors.
    """
    path = FilePath(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"path: no file at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise ValueError(f"path: {path} is truncated or not a safetensors file ({error})") from error


def read_safetensors(path: str | os.PathLike) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read (tensors, metadata) from a safetensors file. Raises what ``open_safetensors`` raises."""
    with open_safetensors(path) as file:
        return {name: file.get_tensor(name) for name in list(file.keys())}, file.metadata() or {}


def read_json(path: str | os.PathLike) -> dict:
    """Read a JSON object.

    Raises ``FileNotFoundError`` when there is no such file, ``ValueError`` naming it when it is not valid JSON or no object.
    """
    path = FilePath(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"path: no file at {path}")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"path: {path} is not valid JSON ({error})") from error
    expect(isinstance(value, dict), "path", type(value).__name__, f"a JSON object in {path}")
    return value
