"""Mutations, soak and interruptions: small ones, and what they count as a fault."""

import random

import pytest

from audiocraft_ext.core.errors import UserError
from benchmarks import interruptions, mutations, soak
from benchmarks.interruptions import Job, disturb
from benchmarks.mutations import READERS, Read


@pytest.mark.parametrize("kind", ["midi", "tables", "sidecars"])
def test_damaged_files_are_read_or_refused(kind, tmp_path):
    make, read, _ = READERS[kind]
    for path in make(tmp_path / kind, 40, 3):
        try:
            assert not read(path).silent_half, path.name
        except UserError as error:
            assert str(error)


def test_what_is_a_silent_half():
    assert Read(50, False, 100).silent_half
    assert not any(one.silent_half for one in (Read(50, True, 100), Read(95, False, 100), Read(50, False, None)))


def test_what_grows_is_seen():
    flat = {"memory": 100, "files": 10, "threads": 5}
    assert soak.growth([flat] * 30) == {"memory": 1, "files": 1, "threads": 1}
    grown = soak.growth([flat | {"files": 10 + n} for n in range(30)])
    assert grown["files"] > soak.GROWTH["files"] and grown["memory"] == 1
    assert soak.growth([flat]) == {}


def test_an_interrupted_command_that_makes_something_else_is_seen(tmp_path, monkeypatch):
    """One appends where it should begin again; one that is whole or nothing."""


    append = "import sys, time; file = open(sys.argv[1], 'a'); [file.write('x') or file.flush() or time.sleep(0.02) " \
             "for _ in range(20)]"
    replace = append.replace("file = open(sys.argv[1], 'a')", "import os; file = open(sys.argv[1] + '.part', 'w')") \
        + "; file.close(); os.replace(sys.argv[1] + '.part', sys.argv[1])"
    monkeypatch.setattr(interruptions, "OURS", (".txt",))
    for code, wrong in ((append, True), (replace, False)):
        folder = tmp_path / str(wrong)
        folder.mkdir()
        job = Job(lambda to, code=code: ["-c", code, str(to / "x.txt")], interruptions.files)
        found = disturb(job, 3, random.Random(1), folder, folder)
        assert ("another result" in "".join(found["which"])) == wrong, found


def test_a_reader_that_is_none_is_named():
    with pytest.raises(UserError, match="expected readers of audio, midi, .*, got nothing"):
        mutations.main(["nothing"])
