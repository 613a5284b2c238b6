"""Hashes that are known are those of the bytes that are there; a file is written whole or not at all."""

import hashlib
import itertools
import os
import time

import pytest

from audiocraft_ext.core import files
from audiocraft_ext.core.errors import UserError


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setenv("MICRO_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "weights"
    path.write_bytes(b"one")
    return path


def digest(data):
    return hashlib.sha256(data).hexdigest()


def test_a_file_is_read_once(file, monkeypatch):
    assert files.known_sha256(file) == digest(b"one")
    monkeypatch.setattr(files, "sha256", lambda path: pytest.fail("read again"))
    assert files.known_sha256(file) == digest(b"one")


@pytest.mark.parametrize("keep_time", [False, True])
def test_a_file_that_was_touched_is_read_again(file, keep_time):
    files.known_sha256(file)
    before = file.stat()
    time.sleep(0.02)  # a file system's clock may tick every 4 ms
    file.write_bytes(b"two")
    if keep_time:
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert files.known_sha256(file) == digest(b"two")


def test_another_file_in_its_place_is_read(file, tmp_path):
    files.known_sha256(file)
    (tmp_path / "other").write_bytes(b"two")
    os.replace(tmp_path / "other", file)
    assert files.known_sha256(file) == digest(b"two")


def test_without_a_cache_nothing_is_known_and_all_is_well(file, tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert files.known_sha256(file) == digest(b"one")
    monkeypatch.setenv("MICRO_CACHE", str(tmp_path / "other"))
    assert files.known_sha256(file) == digest(b"one")
    for note in (tmp_path / "other").rglob("*.json"):
        note.write_text("{")
    assert files.known_sha256(file) == digest(b"one")


@pytest.mark.parametrize("how", [{}, {"sync": True}, {"shared": True}, {"unless_same": True}])
def test_a_file_is_replaced_whole_or_stays(tmp_path, how):
    path = tmp_path / "a.json"
    files.write(path, "old", **how)
    with files.atomic(path, **how) as part:
        part.write_bytes(b"new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and os.listdir(tmp_path) == ["a.json"]
    with pytest.raises(ZeroDivisionError):
        with files.atomic(path, **how) as part:
            part.write_bytes(b"half")
            raise ZeroDivisionError
    assert path.read_text() == "new" and os.listdir(tmp_path) == ["a.json"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_on_a_full_disk_a_file_stays(tmp_path):
    path = tmp_path / "a"
    files.write(path, "old")
    (tmp_path / ".a.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        files.write(path, b"new")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a"]


def test_with_sync_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    order, sync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (order.append("sync"), sync(handle)))
    monkeypatch.setattr(os, "replace", lambda *paths: (order.append("rename"), replace(*paths)))
    files.write(tmp_path / "a", "x", sync=True)
    assert order == ["sync", "rename", "sync"]  # the file, its name, the folder


def test_the_same_bytes_leave_a_file_alone(tmp_path):
    path = tmp_path / "a"
    path.write_text("one")
    os.utime(path, ns=(1, 1))
    files.write(path, "one", unless_same=True)
    assert path.stat().st_mtime_ns == 1
    files.write(path, "two", unless_same=True)
    assert path.read_text() == "two" and path.stat().st_mtime_ns > 1


def test_processes_that_share_a_file_write_beside_it_under_names_of_their_own(tmp_path):
    with files.atomic(tmp_path / "a", shared=True) as part:
        assert str(os.getpid()) in part.name
        part.touch()


@pytest.mark.parametrize("text, why", [("{", "not JSON"), ("[1]", "expected a JSON object, got list"),
                                       ("[" * 100_000, "not JSON")])
def test_json_that_is_no_object_is_refused_or_empty(tmp_path, text, why):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(UserError, match=f"a.json: {why}"):
        files.read_json(path)
    assert files.json_or_empty(path) == {}
    path.write_text('{"a": 1}')
    assert files.read_json(path) == files.json_or_empty(path) == {"a": 1}
    path.unlink()
    assert files.json_or_empty(path) == {}
    with pytest.raises(OSError):
        files.read_json(path)


@pytest.mark.parametrize("links", [True, False])
def test_a_name_that_is_taken_is_not_taken_again(tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(PermissionError("no links here")))
    part, path = tmp_path / "part", tmp_path / "a"
    part.write_text("one")
    files.take_name(part, path)
    assert path.read_text() == "one"
    part.write_text("two")
    path.write_text("somebody's")
    with pytest.raises(FileExistsError):
        files.take_name(part, path)
    assert path.read_text() == "somebody's"


def test_names_are_counted():
    assert list(itertools.islice(files.numbered("a"), 3)) == ["a", "a_v2", "a_v3"]


def test_a_folder_to_write_into_is_made_and_stays_empty(tmp_path):
    files.make_folder(tmp_path / "a" / "b")
    assert os.listdir(tmp_path / "a" / "b") == []
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file.*cannot be written to .*-o"):
        files.make_folder(tmp_path / "file" / "b")
