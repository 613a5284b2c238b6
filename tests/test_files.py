"""Hashes that are known are those of the bytes that are there."""

import hashlib
import os
import time

import pytest

from audiocraft_ext import files


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
