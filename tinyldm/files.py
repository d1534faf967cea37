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


@contextmanager
def atomic_file(target: str | os.PathLike) -> Iterator[FilePath]:
    """Yield a temporary path beside ``target``; it takes the target's place only if the block succeeds."""
    target = FilePath(target)
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
    if target.is_dir():
        raise ValueError(f"{argument}: expected the name of a file, got {target}, a folder")
    lock = target.with_name(f".{target.name}.lock")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        file = open(lock, "a+")  # noqa: SIM115
    except OSError as error:
        raise type(error)(f"{argument}: nothing can be written in {target.parent} ({error.strerror})") from error
    with file:
        if not _alone(file):
            file.seek(0)
            raise ValueError(
                f"{argument}: {target} is being written by process {file.read() or '?'}; name another file"
            )
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
    """Yield a temporary folder beside ``target``; it takes the target's place only if the block succeeds.

    Files of the old folder that the block did not write are kept.
    """
    target = FilePath(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = FilePath(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    os.chmod(fresh, 0o755)
    try:
        yield fresh
        for file in fresh.iterdir():
            file.chmod(0o644)
        if target.exists():
            for entry in target.iterdir():
                if not (fresh / entry.name).exists():
                    (shutil.copytree if entry.is_dir() else shutil.copy2)(entry, fresh / entry.name)
            old = fresh.with_name(fresh.name + ".old")
            os.replace(target, old)
            os.replace(fresh, target)
            shutil.rmtree(old)
        else:
            os.replace(fresh, target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


@contextmanager
def open_safetensors(path: str | os.PathLike) -> Iterator[safe_open]:
    """An open safetensors file, whose tensors are read when asked for.

    Raises ``FileNotFoundError`` when it is not there and ``ValueError`` when it is truncated or not safetensors.
    """
    path = FilePath(path)
    if not path.is_file():
        raise FileNotFoundError(f"path: no file at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise ValueError(f"path: {path} is truncated or not a safetensors file ({error})") from error


def read_safetensors(path: str | os.PathLike) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read (tensors, metadata) from a safetensors file; raises as ``open_safetensors`` does."""
    with open_safetensors(path) as file:
        return {name: file.get_tensor(name) for name in list(file.keys())}, file.metadata() or {}


def read_json(path: str | os.PathLike) -> dict:
    """Read a JSON object; raises ``FileNotFoundError`` or ``ValueError`` naming the file."""
    path = FilePath(path)
    if not path.is_file():
        raise FileNotFoundError(f"path: no file at {path}")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"path: {path} is not valid JSON ({error})") from error
    if not isinstance(value, dict):
        raise ValueError(f"path: expected a JSON object in {path}, got {type(value).__name__}")
    return value
