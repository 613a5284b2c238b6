"""The token store: what is written is read, interruptions cost at most one source, damage is named."""

from __future__ import annotations

import errno
import json
import os
import pickle
import signal
import subprocess
import sys

import numpy as np
import pytest

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.spec import Spec
from audiocraft_ext.store import writer as store_writer
from audiocraft_ext.store.reader import TokenStore, Track
from audiocraft_ext.store.writer import StoreWriter

SPEC = Spec("audio", 4, 64, 50.0, (0, 1, 2, 3), "debug", "abc")
SETTINGS = {"segment": 2.0}


def codes_of(seed: int, frames: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, SPEC.card, (SPEC.n_q, frames))


def write(path, names="abc", frames=25, spec=SPEC, settings=SETTINGS) -> str:
    with StoreWriter(path, spec, settings, "make it so") as writer:
        for n, name in enumerate(names):
            if not writer.done(name):
                writer.add(name, "valid" if name == "b" else "train", codes_of(n, frames + n), 10, {"extra": name})
        return writer.finish()


def contents(path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in path.iterdir()}


def test_what_is_written_is_read(tmp_path):
    digest = write(tmp_path / "s")
    store = TokenStore(tmp_path / "s")
    assert store.spec == SPEC and store.settings == SETTINGS and store.hash == digest
    assert store.codes.shape == (25 + 26 + 27, 4) and store.codes.dtype == np.uint16
    assert store.tracks("train") == [Track("a", 0, 25), Track("c", 51, 27)]
    assert store.tracks("valid") == [Track("b", 25, 26)] and store.tracks("other") == []
    for n, track in enumerate([*store.tracks("train")[:1], *store.tracks("valid"), *store.tracks("train")[1:]]):
        np.testing.assert_array_equal(store.read(track.start, track.frames), codes_of(n, 25 + n))
    assert [(r["source"], r["segment"], r["segments"], r["frames"]) for r in store.rows[:3]] == [
        ("a", 0, 3, 10), ("a", 1, 3, 10), ("a", 2, 3, 5)]
    assert store.rows[0]["extra"] == "a" and store.seconds == 78 / 50
    store.verify()


def test_reading_is_bounded_and_a_copy(tmp_path):
    write(tmp_path / "s")
    store = TokenStore(tmp_path / "s")
    assert store.read(78, 0).shape == (4, 0)
    for start, frames in ((-1, 3), (77, 2), (3, -1)):
        with pytest.raises(IndexError):
            store.read(start, frames)
    piece = store.read(3, 4)
    piece[:] = 0
    assert store.read(3, 4).any()


def test_a_pickled_store_is_opened_anew(tmp_path):
    write(tmp_path / "s", frames=5000)
    data = pickle.dumps(TokenStore(tmp_path / "s"))
    assert len(data) < 500 and pickle.loads(data).hash == TokenStore(tmp_path / "s").hash


def test_two_runs_are_byte_identical_and_a_third_changes_nothing(tmp_path):
    write(tmp_path / "s")
    write(tmp_path / "t")
    before = contents(tmp_path / "s")
    assert before == contents(tmp_path / "t") and set(before) == {"store.json", "codes.u16", "manifest.jsonl"}
    stamps = {p: p.stat().st_mtime_ns for p in (tmp_path / "s").iterdir()}
    write(tmp_path / "s")
    assert stamps == {p: p.stat().st_mtime_ns for p in (tmp_path / "s").iterdir()}


def test_the_hash_follows_codes_names_and_spec(tmp_path):
    digests = {write(tmp_path / "a"), write(tmp_path / "b", names="abd"), write(tmp_path / "c", frames=26),
               write(tmp_path / "d", spec=Spec("audio", 4, 64, 50.0, (0, 1, 2, 3), "debug", "abd"))}
    assert len(digests) == 4


def test_an_unfinished_store_says_how_to_go_on(tmp_path):
    with StoreWriter(tmp_path / "s", SPEC, SETTINGS, "python -m data_prep.audio x s") as writer:
        writer.add("a", "train", codes_of(0, 5))
    with pytest.raises(UserError, match="not finished; go on with: python -m data_prep.audio x s"):
        TokenStore(tmp_path / "s")
    with StoreWriter(tmp_path / "s", SPEC, SETTINGS) as writer:
        assert writer.done("a") and not writer.done("b")


def test_readers_see_the_last_finish_while_writing_goes_on(tmp_path):
    write(tmp_path / "s", names="ab")
    before = TokenStore(tmp_path / "s")
    with StoreWriter(tmp_path / "s", SPEC, SETTINGS) as writer:
        writer.add("c", "train", codes_of(2, 27), 10, {"extra": "c"})
        during = TokenStore(tmp_path / "s")
        assert during.hash == before.hash and len(during.rows) == len(before.rows) and len(during.codes) == 51
        writer.finish()
    assert len(TokenStore(tmp_path / "s").codes) == 78
    write(tmp_path / "t")
    assert contents(tmp_path / "s") == contents(tmp_path / "t")


@pytest.mark.parametrize("finished", [False, True])
def test_every_place_where_writing_can_stop(tmp_path, finished):
    """Cut both files at every combination of lengths that a crash can leave; the next run ends with the same bytes."""
    whole = tmp_path / "whole"
    write(whole)
    want = contents(whole)
    lines = want["manifest.jsonl"].splitlines(keepends=True)
    base_lines, base_frames = (3, 25) if finished else (0, 0)
    done = sum(map(len, lines[:base_lines]))
    after_b = sum(map(len, lines[:6]))
    cuts = [(done, base_frames * 8 + extra) for extra in (0, 1, 7, 8, 200)]  # codes of the next source, or some of them
    cuts += [(m, 51 * 8) for m in (done + 1, done + len(lines[0]), after_b - 1, after_b)]
    cuts += [(after_b, 51 * 8 + 5), (after_b + 40, 78 * 8), (after_b + len(lines[6]), 78 * 8)]
    for n, (manifest, codes) in enumerate(cuts):
        path = tmp_path / f"s{n}"
        if finished:
            write(path, names="a")
        else:
            StoreWriter(path, SPEC, SETTINGS, "make it so").close()
        (path / "manifest.jsonl").write_bytes(want["manifest.jsonl"][:manifest])
        (path / "codes.u16").write_bytes(want["codes.u16"][:codes])
        if finished:
            assert len(TokenStore(path).codes) == 25
        write(path)
        assert contents(path) == want, (manifest, codes)


def test_kill_while_writing(tmp_path):
    script = """if 1:
        import sys
        import numpy as np
        from audiocraft_ext.core.spec import Spec
        from audiocraft_ext.store.writer import StoreWriter
        with StoreWriter(sys.argv[1], Spec("audio", 4, 64, 50.0, (0, 1, 2, 3), "debug", "abc"), {"segment": 2.0}) as w:
            for n in range(2000):
                if not w.done(str(n)):
                    w.add(str(n), "train", np.random.default_rng(n).integers(0, 64, (4, 300)), 10)
                    print(n, flush=True)
    """
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "s")], stdout=subprocess.PIPE)
    for _ in range(5):
        process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    said = 5 + len(process.stdout.read().split())
    process.wait()
    with StoreWriter(tmp_path / "s", SPEC, SETTINGS) as writer:
        assert said <= len(writer.sources) <= said + 1  # what was said to be written is there
        writer.finish()
    store = TokenStore(tmp_path / "s")
    store.verify()
    assert len(store.codes) == 300 * len(writer.sources)


def test_a_full_disk_leaves_the_store_as_it_was(tmp_path, monkeypatch):
    write(tmp_path / "s", names="ab")
    before = contents(tmp_path / "s")
    real = os.fsync
    with StoreWriter(tmp_path / "s", SPEC, SETTINGS) as writer:
        for failing in (1, 2):  # the codes do not fit, or only the manifest does not
            calls = []

            def fsync(fd, failing=failing, calls=calls):
                calls.append(fd)
                if len(calls) == failing:
                    raise OSError(errno.ENOSPC, "No space left on device")
                real(fd)

            monkeypatch.setattr(store_writer.os, "fsync", fsync)
            with pytest.raises(OSError, match="No space left"):
                writer.add("c", "train", codes_of(2, 27), 10, {"extra": "c"})
            assert contents(tmp_path / "s") == before
        monkeypatch.undo()
        writer.add("c", "train", codes_of(2, 27), 10, {"extra": "c"})
        writer.finish()
    write(tmp_path / "t")
    assert contents(tmp_path / "s") == contents(tmp_path / "t")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_disk_that_really_is_full(tmp_path):
    write(tmp_path / "s", names="ab")
    (tmp_path / "s" / ".store.json.part").symlink_to("/dev/full")
    with StoreWriter(tmp_path / "s", SPEC, SETTINGS) as writer:
        writer.add("c", "train", codes_of(2, 27))
        with pytest.raises(OSError) as caught:
            writer.finish()
    assert caught.value.errno == errno.ENOSPC
    assert len(TokenStore(tmp_path / "s").codes) == 51


def test_another_spec_or_other_settings_are_refused_by_key(tmp_path):
    write(tmp_path / "s")
    with pytest.raises(UserError, match=r"settings.segment was 2.0, now 3.0"):
        StoreWriter(tmp_path / "s", SPEC, {"segment": 3.0})
    with pytest.raises(UserError, match=r"spec.codec was .*'abc'.*, now .*'new'.*; use the same"):
        StoreWriter(tmp_path / "s", Spec("audio", 4, 64, 50.0, (0, 1, 2, 3), "debug", "new"), SETTINGS)
    with StoreWriter(tmp_path / "begun", SPEC, SETTINGS) as writer:
        writer.add("a", "train", codes_of(0, 5))
    with pytest.raises(UserError, match="settings.segment"):
        StoreWriter(tmp_path / "begun", SPEC, {"segment": 3.0})


def test_two_writers_at_once_are_refused(tmp_path):
    with StoreWriter(tmp_path / "s", SPEC, SETTINGS), pytest.raises(UserError, match="another process"):
        StoreWriter(tmp_path / "s", SPEC, SETTINGS)
    StoreWriter(tmp_path / "s", SPEC, SETTINGS).close()


def test_a_folder_with_other_things_is_left_alone(tmp_path):
    (tmp_path / "codes.u16").write_bytes(b"mine")
    with pytest.raises(UserError, match="not a token store and not empty"):
        StoreWriter(tmp_path, SPEC, SETTINGS)
    with pytest.raises(UserError, match="expected a folder"):
        StoreWriter(tmp_path / "codes.u16", SPEC, SETTINGS)
    assert contents(tmp_path) == {"codes.u16": b"mine"}
    with pytest.raises(UserError, match="not a token store"):
        TokenStore(tmp_path)
    with pytest.raises(UserError, match="no such token store"):
        TokenStore(tmp_path / "nowhere")


def _cut(path, name, by):
    data = (path / name).read_bytes()
    (path / name).write_bytes(data[:-by])


def _change(path, name, old, new):
    data = (path / name).read_bytes()
    assert old in data
    (path / name).write_bytes(data.replace(old, new, 1))


@pytest.mark.parametrize("damage, message", [
    (lambda p: _cut(p, "codes.u16", 1), r"codes.u16: 623 bytes are there, store.json says 624"),
    (lambda p: _cut(p, "manifest.jsonl", 1), r"manifest.jsonl: \d+ bytes are there"),
    (lambda p: _change(p, "manifest.jsonl", b'"train"', b'"valid"'), "does not match the hash"),
    (lambda p: _change(p, "store.json", b'"card": 64', b'"card": 65'), "does not match the hash"),
    (lambda p: (p / "codes.u16").unlink(), "0 bytes are there"),
    (lambda p: (p / "manifest.jsonl").unlink(), "missing"),
    (lambda p: (p / "store.json").write_text("{"), "not a token store's record"),
    (lambda p: (p / "store.json").write_text("[]"), "not a token store's record"),
    (lambda p: _change(p, "store.json", b'"version": 1', b'"version": 9'), "version 1, got 9"),
])
def test_damage_is_named_by_readers_and_writers(tmp_path, damage, message):
    write(tmp_path / "s")
    damage(tmp_path / "s")
    with pytest.raises(UserError, match=message):
        TokenStore(tmp_path / "s")
    with pytest.raises(UserError):
        StoreWriter(tmp_path / "s", SPEC, SETTINGS)


def test_changed_codes_are_found_by_verify(tmp_path):
    write(tmp_path / "s")
    data = bytearray((tmp_path / "s" / "codes.u16").read_bytes())
    data[25 * 8] ^= 1
    (tmp_path / "s" / "codes.u16").write_bytes(data)
    with pytest.raises(UserError, match="codes of b, segment 0"):
        TokenStore(tmp_path / "s").verify()


def test_codes_that_do_not_fit_the_spec_are_refused(tmp_path):
    with StoreWriter(tmp_path / "s", SPEC, SETTINGS) as writer:
        for bad in (np.zeros((3, 5), int), np.zeros((4, 0), int), np.zeros(5, int), np.full((4, 5), 64),
                    np.full((4, 5), -1)):
            with pytest.raises(ValueError, match="x: expected codes"):
                writer.add("x", "train", bad)
        with pytest.raises(UserError, match="nothing was added"):
            writer.finish()
        writer.add("x", "train", np.zeros((4, 5), int))
        with pytest.raises(ValueError, match="in the store already"):
            writer.add("x", "train", np.zeros((4, 5), int))


def test_the_end_of_a_single_source_can_be_held_out(tmp_path):
    with StoreWriter(tmp_path / "s", SPEC, SETTINGS) as writer:
        writer.add("a", "train", codes_of(0, 25), 10, valid_frames=3)
        writer.finish()
    store = TokenStore(tmp_path / "s")
    assert store.tracks("train") == [Track("a", 0, 22)] and store.tracks("valid") == [Track("a", 22, 3)]
    assert [r["frames"] for r in store.rows] == [10, 10, 2, 3] and store.rows[3]["segments"] == 4
    store.verify()


def test_names_that_are_not_unicode(tmp_path):
    name = os.fsdecode(b"caf\xe9 \xe2\x80\xa8.wav")
    with StoreWriter(tmp_path / "s", SPEC, SETTINGS) as writer:
        writer.add(name, "train", np.zeros((4, 5), int))
        writer.finish()
    assert TokenStore(tmp_path / "s").tracks("train")[0].source == name
    assert json.loads((tmp_path / "s" / "manifest.jsonl").read_text())["source"] == name


def test_the_store_needs_only_numpy():
    out = subprocess.run([sys.executable, "-c", "import sys, audiocraft_ext.store.reader\n"
                          "print([m for m in ('torch', 'soundfile', 'audiocraft') if m in sys.modules])"],
                         capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_rows_that_were_cut_before(tmp_path):
    """Slices of one source, each with something to say of its own."""
    a, b = codes_of(0, 7), codes_of(1, 3)
    with StoreWriter(tmp_path / "s", SPEC, SETTINGS) as writer:
        assert writer.finished == set()
        writer.add_rows("x", [("train", a, {"bpm": 170.0}), ("valid", b, {"bpm": 171.0})])
        writer.finish()
        with pytest.raises(ValueError, match="is in the store already"):
            writer.add_rows("x", [("train", a, {})])
        with pytest.raises(ValueError, match="one row or more"):
            writer.add_rows("y", [])
    store = TokenStore(tmp_path / "s")
    assert [(r["start"], r["frames"], r["split"], r["bpm"], r["segment"], r["segments"]) for r in store.rows] == [
        (0, 7, "train", 170.0, 0, 2), (7, 3, "valid", 171.0, 1, 2)]
    assert np.array_equal(store.read(7, 3), b)
    store.verify()
    with StoreWriter(tmp_path / "s", SPEC, SETTINGS) as writer:
        assert writer.finished == {"x"} and writer.splits == {"x": {"train", "valid"}}


def test_a_store_with_nothing_in_it_binds_nobody(tmp_path):
    StoreWriter(tmp_path / "s", SPEC, {"cut": "bars:4"}).close()
    write(tmp_path / "s", settings={"cut": "fixed:30"})
    assert TokenStore(tmp_path / "s").settings == {"cut": "fixed:30"}
    with pytest.raises(UserError, match="settings.cut was 'fixed:30', now 'bars:4'"):
        StoreWriter(tmp_path / "s", SPEC, {"cut": "bars:4"})


def test_what_lies_beside_a_store_may_be_there_before_it(tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "report.html").write_text("x")
    with pytest.raises(UserError, match="not a token store and not empty"):
        StoreWriter(tmp_path / "s", SPEC, SETTINGS)
    StoreWriter(tmp_path / "s", SPEC, SETTINGS, beside=("report.html",)).close()


def test_a_row_that_follows_nothing_begins_a_track(tmp_path):
    """Rows without the key go on as they always did."""
    rows = [("follows", None), ("follows", True), ("follows", False), ("follows", True), ("cut", "bars"), ("cut", None)]
    with StoreWriter(tmp_path / "s", SPEC, SETTINGS) as writer:
        writer.add_rows("x", [("train", codes_of(n, 5), {} if value is None else {key: value})
                              for n, (key, value) in enumerate(rows)])
        writer.add_rows("y", [("train", codes_of(n, 4), {"cut": cut, "follows": follows}) for n, (cut, follows) in
                              enumerate([("bars", False), ("bars", True), ("onsets", False), ("whole", False)])])
        writer.finish()
    assert TokenStore(tmp_path / "s").tracks("train") == [
        Track("x", 0, 10), Track("x", 10, 20), Track("y", 30, 8, (30, 34)), Track("y", 38, 4, (38,)),
        Track("y", 42, 4)]
