"""Floor 0: what is written is whole or not there; what is read is refused unless it is whole."""

import itertools
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tinyldm.files import atomic_file, atomic_folder, current, read_json, read_safetensors


def contents(folder):
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


class CrashError(BaseException):
    """Not an ``Exception``: like an interrupt from the keyboard."""


def crash_in_file(target, existing, error):
    with atomic_file(target) as temporary:
        temporary.write_text("new, half wri")
        assert target.exists() == existing
        raise error


def crash_in_folder(target, existing, error):
    with atomic_folder(target) as fresh:
        (fresh / "a").write_text("new a")
        assert (target / "a").exists() == existing
        raise error


@pytest.mark.parametrize("error", [OSError, CrashError, KeyboardInterrupt])
@pytest.mark.parametrize("existing", [True, False])
def test_a_crash_while_writing_a_file_changes_nothing(error, existing, tmp_path):
    target = tmp_path / "deep" / "x.txt"
    if existing:
        target.parent.mkdir()
        target.write_text("old")
    with pytest.raises(error):
        crash_in_file(target, existing, error)
    assert contents(tmp_path) == ({"deep/x.txt": "old"} if existing else {})


@pytest.mark.parametrize("error", [OSError, CrashError, KeyboardInterrupt])
@pytest.mark.parametrize("existing", [True, False])
def test_a_crash_while_writing_a_folder_changes_nothing(error, existing, tmp_path):
    target = tmp_path / "deep" / "model"
    if existing:
        target.mkdir(parents=True)
        (target / "a").write_text("old a")
    with pytest.raises(error):
        crash_in_folder(target, existing, error)
    assert contents(tmp_path) == ({"deep/model/a": "old a"} if existing else {})
    assert [p.name for p in (tmp_path / "deep").iterdir()] == (["model"] if existing else [])


def test_a_file_takes_its_place_when_whole(tmp_path):
    target = tmp_path / "deep" / "x.txt"
    for text in ("first", "second"):
        with atomic_file(target) as temporary:
            temporary.write_text(text)
            assert temporary.parent == target.parent  # a rename must not cross file systems
        assert contents(tmp_path) == {"deep/x.txt": text}
    if os.name == "posix":
        with target.open() as reader:  # renamed, not written over: who has the old file open reads on in the old file
            with atomic_file(target) as temporary:
                temporary.write_text("third")
            assert reader.read() == "second"
        assert target.stat().st_mode & 0o777 == 0o644  # others may read it, unlike a bare temporary file


def test_a_folder_takes_its_place_when_whole(tmp_path):
    target = tmp_path / "deep" / "model"
    for text in ("first", "second"):
        with atomic_folder(target) as fresh:
            (fresh / "a").write_text(text)
            assert fresh.parent == target  # a rename must not cross file systems
        assert contents(tmp_path) == {"deep/model/a": text}


def write(target, text):
    with atomic_folder(target) as fresh:
        for name in "ab":
            (fresh / name).write_text(text)


def test_a_program_killed_at_any_moment_leaves_the_old_files_or_the_new(tmp_path, monkeypatch):
    """Killed: nothing is put in order afterwards. Each change of the folder in turn is the one that does not happen."""
    moments = itertools.count()
    for last in moments:
        target = tmp_path / str(last)
        write(target, "old")
        (target / "card").write_text("another's")
        left = itertools.count()
        with monkeypatch.context() as patch:

            def kill(act, last=last, left=left):
                def instead(*args, **kwargs):
                    if next(left) >= last:
                        raise CrashError
                    return act(*args, **kwargs)

                return instead

            for module, name in ((os, "replace"), (shutil, "rmtree"), (Path, "rmdir"), (Path, "mkdir"), (Path, "chmod")):
                patch.setattr(module, name, kill(getattr(module, name)))
            with suppress(CrashError):
                write(target, "new")
        seen = {current(target, name).read_text() for name in "ab"}
        assert seen in ({"old"}, {"new"}), last
        if next(left) <= last:
            break
        write(target, "third")
        assert contents(target) == {"a": "third", "b": "third", "card": "another's"}
        assert sorted(p.name for p in target.iterdir()) == ["a", "b", "card"]  # what the killed one left is gone
    assert last > 5


@pytest.mark.skipif(os.name != "posix", reason="links and permissions as Unix has them")
def test_a_folder_keeps_its_permissions_its_links_and_others_files(tmp_path, monkeypatch):
    real, link = tmp_path / "real", tmp_path / "link"
    real.mkdir(mode=0o700)
    (real / "card").write_text("another's")
    link.symlink_to(real)
    write(link, "new")
    assert link.is_symlink()
    assert contents(real) == {"a": "new", "b": "new", "card": "another's"}
    assert real.stat().st_mode & 0o777 == 0o700
    monkeypatch.setenv("HOME", str(tmp_path))
    write("~/model", "new")
    assert contents(tmp_path / "model") == {"a": "new", "b": "new"}
    assert current("~/model", "a").read_text() == "new"


def test_tensors_and_notes_come_back(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.arange(3), "b": torch.ones(2, 2, dtype=torch.float16)}, path, {"step": "7"})
    tensors, notes = read_safetensors(path)
    assert tensors["a"].tolist() == [0, 1, 2]
    assert tensors["b"].dtype == torch.float16
    assert notes == {"step": "7"}
    save_file({"a": torch.arange(3)}, path)
    assert read_safetensors(path)[1] == {}


@pytest.mark.parametrize("content", [b"", b"\x08", b"{}", b"\xff" * 64, b"PK\x03\x04 a zip, as torch.save writes" * 4])
def test_other_files_are_not_read_as_tensors(content, tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{re.escape(str(path))} is truncated or not a safetensors file"):
        read_safetensors(path)


def test_every_truncation_is_noticed(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.arange(5.0)}, path)
    content = path.read_bytes()
    for size in range(len(content)):
        path.write_bytes(content[:size])
        with pytest.raises(ValueError, match="truncated"):
            read_safetensors(path)


@pytest.mark.parametrize("read", [read_json, read_safetensors])
def test_a_missing_file_is_named(read, tmp_path):
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(FileNotFoundError, match=re.escape(str(path))):
            read(path)


def test_json_objects_come_back(tmp_path):
    (tmp_path / "x.json").write_text('{"sigma": "σ", "n": [1, 2]}', encoding="utf-8")
    assert read_json(tmp_path / "x.json") == {"sigma": "σ", "n": [1, 2]}


@pytest.mark.parametrize("content", [b"", b'{"a": ', b"{'a': 1}", b"\xff\xfe", b"[1, 2]", b"null"])
def test_what_is_not_a_json_object_is_refused(content, tmp_path):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(str(path))):
        read_json(path)
