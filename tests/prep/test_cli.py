"""A folder of sound to a token store: formats, broken files, splits, interruptions, audiocraft's manifest."""

from __future__ import annotations

import errno
import gzip
import json
import os
import resource
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from audiocraft_ext.audio.codec import get_codec
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.split import TRAIN, VALID, number_of, split_of
from audiocraft_ext.sound import files as sound_files
from audiocraft_ext.sound import libsndfile
from audiocraft_ext.store import writer as store_writer
from audiocraft_ext.store.reader import TokenStore
from data_prep.audio import stages
from data_prep.audio.cli import main
from tests.helpers.programs import Program, fork, start

pytestmark = pytest.mark.early
RATE = 32_000


def noise(seconds: float, seed: int = 0, rate: int = RATE, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, (int(seconds * rate), channels)).astype(np.float32)


def make(folder: Path, names, seconds: float = 1.5) -> Path:
    for n, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        sf.write(folder / name, noise(seconds + 0.1 * n, n), RATE)
    return folder


def prep(src: Path, store: Path, *more) -> TokenStore:
    """In this process, and without beats, which take most of the time."""
    main([str(src), str(store), "--codec", "debug", "--workers", "0", "--tempo", "off", *map(str, more)])
    return TokenStore(store)


def forked(folder: Path, *args) -> Program:
    """The command in a fork of this process, which does all the work."""
    words = [*map(str, args), "--codec", "debug", "--tempo", "off", "--workers", "0"]
    return fork(folder, lambda: main(words))


def cold(folder: Path, *args) -> Program:
    """The command as somebody types it, with a worker."""
    return start(folder, "-m", "data_prep.audio", *args, "--codec", "debug", "--tempo", "off", "--workers", 1)


both_ways = pytest.mark.parametrize("command", [forked, pytest.param(cold, marks=pytest.mark.processes)])


def contents(folder: Path) -> dict[str, bytes]:
    """All files but those that a run leaves for the next."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*")
            if p.is_file() and ".prep" not in p.parts}


NAMES = [f"{n:02}.wav" for n in range(12)]


def test_a_folder_becomes_a_store(tmp_path, capsys):
    src = make(tmp_path / "src", ["b.wav", "a/x.wav", "a/y.wav", "z.wav"])
    (src / "notes.txt").write_text("not audio")
    (src / ".hidden.wav").write_bytes(b"")
    store = prep(src, tmp_path / "store", "--cut", "fixed:0.5", "--valid-share", 0.4,
                 "--level", "off", "--keep-dc")
    assert sorted({row["source"] for row in store.rows}) == ["a/x.wav", "a/y.wav", "b.wav", "z.wav"]
    assert store.spec == get_codec("debug").spec
    assert store.settings["cut"] == "fixed:0.5" and store.settings["valid_share"] == 0.4
    for track in [*store.tracks(TRAIN), *store.tracks(VALID)]:
        codes = get_codec("debug").encode(sound_files.read(src / track.source, RATE))
        np.testing.assert_array_equal(store.read(track.start, track.frames), codes)  # on through all its segments
        rows = [row for row in store.rows if row["source"] == track.source]
        assert [row["frames"] for row in rows[:-1]] == [25] * (len(rows) - 1) and 0 < rows[-1]["frames"] <= 25
    store.verify()
    assert "4 sources added" in capsys.readouterr().out


def test_again_changes_nothing_and_says_so(tmp_path, capsys):
    src = make(tmp_path / "src", NAMES[:4])
    prep(src, tmp_path / "a")
    before = contents(tmp_path / "a")
    stamps = {p: (tmp_path / "a" / p).stat().st_mtime_ns for p in before}
    capsys.readouterr()
    prep(src, tmp_path / "a")
    assert "nothing new" in capsys.readouterr().out
    assert contents(tmp_path / "a") == before
    assert {p: (tmp_path / "a" / p).stat().st_mtime_ns for p in before} == stamps
    prep(src, tmp_path / "b")
    other = contents(tmp_path / "b")
    assert set(other) == set(before)
    assert all(other[name] == before[name] for name in before if "report" not in name)  # two runs are the same bytes


def test_new_files_are_added_and_old_ones_stay_where_they_are(tmp_path):
    src = make(tmp_path / "src", NAMES[:4])
    old = prep(src, tmp_path / "store")
    make(src, NAMES[:6])
    new = prep(src, tmp_path / "store")
    assert new.rows[: len(old.rows)] == old.rows and len(new.rows) == 6 and new.hash != old.hash
    np.testing.assert_array_equal(new.codes[: len(old.codes)], old.codes)


@pytest.mark.parametrize("name, options", [
    ("x.wav", {}), ("x.flac", {}), ("x.ogg", {}), ("x.mp3", {}), ("x.aiff", {}),
    ("x.opus", {"format": "OGG", "subtype": "OPUS"}), ("x.WAV", {"format": "WAV", "subtype": "FLOAT"})])
def test_formats(tmp_path, name, options):
    """A stereo tone at another rate, in each format: mono at 32 kHz, as long and as loud."""
    rate = 48_000
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(2 * rate) / rate)
    sf.write(tmp_path / name, np.stack([tone, 0.5 * tone], 1), rate, **options)
    assert sound_files.find_audio(tmp_path) == [tmp_path / name]
    sound = sound_files.load(tmp_path / name, RATE)
    assert sound.rate == rate and sound.seconds == pytest.approx(2, abs=0.3)  # opus of libsndfile 1.2 drops its end
    assert sound.amplitude == pytest.approx(0.5, abs=0.02) and sound.wav.dtype == np.float32
    assert len(sound.wav) == pytest.approx(sound.seconds * RATE, abs=1)
    middle = sound.wav[RATE // 2 : RATE]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    assert spectrum.argmax() == 220 and np.abs(middle).max() == pytest.approx(0.375, abs=0.02)  # the channels' mean


def write_m4a(path: Path, wav: np.ndarray, rate: int) -> None:
    av = pytest.importorskip("av")
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=rate)
        for start in range(0, len(wav), 1024):
            block = np.ascontiguousarray(wav[start : start + 1024].T)
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="stereo")
            frame.rate, frame.pts = rate, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def test_m4a_through_pyav(tmp_path):
    write_m4a(tmp_path / "x.m4a", noise(2, rate=44_100, channels=2), 44_100)
    sound = sound_files.load(tmp_path / "x.m4a", RATE)
    assert sound.rate == 44_100 and sound.seconds == pytest.approx(2, abs=0.05)
    assert sound.wav.std() == pytest.approx(0.1 / 2**0.5, rel=0.3)  # the mean of two channels of noise
    assert sound_files.duration(tmp_path / "x.m4a") == pytest.approx(2, abs=0.05)


def test_blocks_do_not_change_the_sound(tmp_path, monkeypatch):
    wav = noise(2, rate=44_100, channels=2)
    sf.write(tmp_path / "x.wav", wav, 44_100, subtype="FLOAT")
    want = sound_files.resample(wav.mean(axis=1), 44_100, RATE)
    monkeypatch.setattr(libsndfile, "BLOCK", 2000)
    np.testing.assert_allclose(sound_files.read(tmp_path / "x.wav", RATE), want, atol=1e-6)


def spoil(folder: Path) -> dict[str, str]:
    """Files that cannot be used, with a word of the reason that is to be given for each."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "empty.wav").write_bytes(b"")
    (folder / "text.mp3").write_text("not a sound at all\n" * 50)
    (folder / "zeros.m4a").write_bytes(bytes(5000))
    sf.write(folder / "header only.wav", np.zeros((0, 1)), RATE)
    sf.write(folder / "short.wav", noise(0.5), RATE)
    sf.write(folder / "nan.wav", np.full(2 * RATE, np.nan), RATE, subtype="FLOAT")
    for name in ("cut.wav", "cut.flac", "cut.aiff"):
        sf.write(folder / name, noise(3, 7), RATE)
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) // 2])
    reasons = {"empty.wav": "empty", "text.mp3": "audio", "zeros.m4a": "not audio", "header only.wav": "no audio",
               "short.wav": "too short, 0.50 of 1 seconds", "nan.wav": "not numbers", "cut.wav": "truncated",
               "cut.flac": "not audio that can be read", "cut.aiff": "truncated"}
    return reasons


def test_files_that_cannot_be_used_are_named_and_skipped(tmp_path, capsys):
    src = make(tmp_path / "src", ["good.wav", "other.wav"])
    reasons = spoil(src / "bad")
    store = prep(src, tmp_path / "store")
    assert sorted({row["source"] for row in store.rows}) == ["good.wav", "other.wav"]
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("skipped ")]
    assert len(lines) == len(reasons)
    for name, reason in reasons.items():
        (line,) = [line for line in lines if line.startswith(f"skipped bad/{name}: ")]
        assert reason in line and str(src) not in line


def test_an_ogg_that_is_cut_is_taken_and_said(tmp_path):
    """It promises no length: what is left of it is sound."""
    src = make(tmp_path / "src", ["good.wav", "other.wav"])
    sf.write(src / "cut.ogg", noise(3, 7), RATE)
    data = (src / "cut.ogg").read_bytes()
    (src / "cut.ogg").write_bytes(data[: len(data) // 2])
    store = prep(src, tmp_path / "store")
    assert sorted({row["source"] for row in store.rows}) == ["cut.ogg", "good.wav", "other.wav"]
    assert "cut in its last page" in (tmp_path / "store" / "report.json").read_text()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="a superuser may read everything")
def test_a_file_that_may_not_be_read_is_skipped(tmp_path, capsys):
    src = make(tmp_path / "src", NAMES[:3])
    (src / NAMES[1]).chmod(0)
    assert len(prep(src, tmp_path / "store").rows) == 2
    assert f"skipped {NAMES[1]}: Permission denied" in capsys.readouterr().err


def test_the_same_sound_twice_is_taken_once(tmp_path, capsys):
    src = make(tmp_path / "src", NAMES[:3])
    (src / "copy.wav").write_bytes((src / NAMES[1]).read_bytes())
    assert len(prep(src, tmp_path / "store").rows) == 3
    assert f"skipped copy.wav: exact copy of {NAMES[1]}" in capsys.readouterr().err
    (src / "renamed.wav").write_bytes((src / NAMES[0]).read_bytes())
    assert len(prep(src, tmp_path / "store").rows) == 3


def test_sides_are_a_matter_of_the_name(tmp_path):
    src = make(tmp_path / "src", NAMES)
    store = prep(src, tmp_path / "store", "--valid-share", 0.3)
    want = {name: split_of(name, 0.3) for name in NAMES}
    want[min(NAMES, key=number_of)], want[max(NAMES, key=number_of)] = VALID, TRAIN
    assert {row["source"]: row["split"] for row in store.rows} == want
    assert len(store.tracks(VALID)) >= 2 and len(store.tracks(TRAIN)) >= 2


@pytest.mark.parametrize("share", [0.0001, 0.9999])
def test_two_usable_files_are_one_on_each_side(tmp_path, share):
    """Even if the hash puts both in one split and the first choices are broken."""
    src = make(tmp_path / "src", NAMES[:5])
    for name in sorted(NAMES[:5], key=number_of)[1:4]:
        (src / name).write_bytes(b"broken")
    low, high = min(NAMES[:5], key=number_of), max(NAMES[:5], key=number_of)
    store = prep(src, tmp_path / "store", "--valid-share", share)
    assert [t.source for t in store.tracks(VALID)] == [low] and [t.source for t in store.tracks(TRAIN)] == [high]
    for name in (low, high):  # now the middle one is the only other choice
        broken = tmp_path / f"without {name}"
        make(broken, NAMES[:5])
        (broken / name).write_bytes(b"broken")
        store = prep(broken, tmp_path / f"store {name}", "--valid-share", share)
        assert store.tracks(VALID) and store.tracks(TRAIN) and len(store.rows) == 4


def test_of_a_single_file_the_end_is_held_out(tmp_path, capsys):
    src = make(tmp_path / "src", ["one.wav"], seconds=4)
    store = prep(src, tmp_path / "store", "--cut", "fixed:1", "--valid-share", 0.25)
    (train,), (valid,) = store.tracks(TRAIN), store.tracks(VALID)
    assert (train.start, train.frames, valid.start, valid.frames) == (0, 150, 150, 50)
    assert "the end of one.wav is held out as valid: it was the only file" in capsys.readouterr().out
    lines = read_manifest(tmp_path / "store", TRAIN)
    assert lines[0]["duration"] == 3.0 and read_manifest(tmp_path / "store", VALID) == []


def test_nothing_is_held_out_on_request(tmp_path):
    store = prep(make(tmp_path / "src", NAMES[:3]), tmp_path / "store", "--valid-share", 0)
    assert len(store.tracks(TRAIN)) == 3 and not store.tracks(VALID)


def read_manifest(store: Path, split: str) -> list[dict]:
    return [json.loads(line) for line in gzip.open(store / "manifest" / split / "data.jsonl.gz")]


def test_audiocrafts_dataset_reads_the_manifest(tmp_path):
    import audiocraft_ext.compat  # noqa: F401 (makes audiocraft importable)

    # isort: split
    from audiocraft.data.audio_dataset import AudioDataset

    src = tmp_path / "src"
    src.mkdir()
    for n in range(3):
        sf.write(src / f"{n}.flac", noise(3, n, 44_100, 2), 44_100)
    store = prep(src, tmp_path / "store")
    for split in (TRAIN, VALID):
        lines = read_manifest(tmp_path / "store", split)
        assert [line["path"] for line in lines] == sorted(str(src / t.source) for t in store.tracks(split))
        assert all(line["duration"] == 3 and line["sample_rate"] == 44_100 and 0.3 < line["amplitude"] < 0.7
                   and line["weight"] == 1 and line["info_path"] is None for line in lines)
        dataset = AudioDataset.from_meta(tmp_path / "store" / "manifest" / split, segment_duration=1.0, num_samples=2,
                                         sample_rate=RATE, channels=1)
        wav = dataset[0]
        assert wav.shape == (1, RATE) and 0.03 < float(wav.std()) < 0.2


def test_the_manifest_keeps_sources_of_another_folder(tmp_path):
    prep(make(tmp_path / "one", NAMES[:3]), tmp_path / "store")
    make(tmp_path / "two", NAMES[:6])
    for name in NAMES[:3]:
        (tmp_path / "two" / name).unlink()
    prep(tmp_path / "two", tmp_path / "store")
    paths = {line["path"] for split in (TRAIN, VALID) for line in read_manifest(tmp_path / "store", split)}
    assert paths == {str(tmp_path / ("one" if n < 3 else "two") / name) for n, name in enumerate(NAMES[:6])}


@both_ways
def test_kill_and_go_on(tmp_path, command):
    """Killed in the middle, then continued: the same bytes as without a kill."""
    src = make(tmp_path / "src", NAMES, seconds=3)
    (src / "broken.wav").write_bytes(b"broken")
    prep(src, tmp_path / "whole")
    store, kills = tmp_path / "store", 0
    for _ in range(2):
        process = command(tmp_path, src, store)
        before = size(store)
        while process.alive() and size(store) == before:
            time.sleep(0.001)
        if process.alive():
            process.send(signal.SIGKILL)
        kills += process.end() == -signal.SIGKILL
        if not (store / "store.json").exists():
            with pytest.raises(ValueError, match=f"not finished; go on with: python -m data_prep.audio {src} {store}"):
                TokenStore(store)
    assert kills, "the run ended before it could be killed"
    prep(src, store)
    assert contents(store) == contents(tmp_path / "whole")


def size(store: Path) -> int:
    file = store / "manifest.jsonl"
    return file.stat().st_size if file.exists() else 0


@both_ways
def test_ctrl_c_says_how_to_go_on(tmp_path, command):
    src = make(tmp_path / "src", NAMES, seconds=3)
    process = command(tmp_path, src, tmp_path / "store")
    while process.alive() and not size(tmp_path / "store"):
        time.sleep(0.001)
    process.send(signal.SIGINT)
    code, err = process.end(), process.err.read_text()
    assert code == 130, err
    assert "go on with: python -m data_prep.audio" in err.splitlines()[-1] and "Traceback" not in err


def fails(process: Program) -> str:
    code, out, err = process.end(), process.out.read_text(), process.err.read_text()
    assert code == 2, err
    assert "Traceback" not in err and not out
    return err.splitlines()[-1]


def test_a_missing_or_empty_folder(tmp_path):
    """The first by the command as somebody types it."""
    assert "no such folder" in fails(cold(tmp_path, tmp_path / "nowhere", tmp_path / "store"))
    (tmp_path / "src").mkdir()
    assert "no audio in it" in fails(forked(tmp_path, tmp_path / "src", tmp_path / "store"))
    assert not (tmp_path / "store").exists()


def test_a_folder_with_nothing_usable(tmp_path):
    reasons = spoil(tmp_path / "src")
    last = fails(forked(tmp_path, tmp_path / "src", tmp_path / "store"))
    assert last.startswith(f"error: {tmp_path / 'src'}: none of its {len(reasons)} audio files can be used; cut.aiff: ")
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("writes", [1, 2, 7])
def test_a_disk_that_is_full_while_codes_are_written(tmp_path, monkeypatch, writes):
    src, whole = make(tmp_path / "src", NAMES), store_writer._append
    left = [writes]

    def full(file, data):
        left[0] -= 1
        if left[0] < 0:
            file.write(data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        whole(file, data)

    monkeypatch.setattr(stages, "FLUSH", 0)
    monkeypatch.setattr(store_writer, "_append", full)
    with pytest.raises(UserError, match="cannot be written .No space left on device.; .* go on with: python"):
        prep(src, tmp_path / "store")
    monkeypatch.setattr(store_writer, "_append", whole)
    prep(src, tmp_path / "store")
    prep(src, tmp_path / "whole")
    assert contents(tmp_path / "store") == contents(tmp_path / "whole")


@pytest.mark.skipif(sys.platform == "win32", reason="needs file size limits")
def test_a_full_disk(tmp_path):
    """The store keeps what fits and goes on from there."""
    src = make(tmp_path / "src", NAMES, seconds=3)
    limit = 3000  # bytes a file may have: a few sources of codes
    words = [str(src), str(tmp_path / "store"), "--codec", "debug", "--tempo", "off", "--workers", "0"]

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        main(words)

    last = fails(fork(tmp_path, limited))
    assert "No space left" in last and "what is in the store is whole, go on with" in last
    prep(src, tmp_path / "store")
    prep(src, tmp_path / "whole")
    assert contents(tmp_path / "store") == contents(tmp_path / "whole")


@pytest.mark.parametrize("options, message", [
    (["--valid-share", "1"], "--valid-share"), (["--cut", "fixed:0"], "--cut is one of"),
    (["--min-seconds", "-1"], "--min-seconds"), (["--workers", "-1"], "--workers"),
    (["--level", "loud"], "^--level: a level is"), (["--level", "lufs:9"], "^--level: a loud"),
    (["--silence", "nan"], "--silence"), (["--timeout", "0"], "--timeout"), (["--min-seconds", "inf"], "--min-seconds"),
    (["--variants", "2"], "--variants and --augment go together"), (["--augment", "echo"], "--variants and --augment"),
    (["--augment", "echo", "--variants", "1"], "--augment"),
    (["--slurm", "x y", "--executor", "slurm"], "--slurm: expected key=value"),
    (["--slurm", "cpus=1"], "--slurm is for --executor slurm"), (["--shards", "8"], "--shards is for --executor local"),
    (["--slurm", "cpus=1", "--executor", "local"], "--slurm is for --executor slurm"),
    (["--codec", "opus"], "no codec 'opus'"), (["--device", "abacus"], "--device abacus")])
def test_options_that_cannot_be(tmp_path, options, message):
    src = make(tmp_path / "src", NAMES[:1])
    with pytest.raises(ValueError, match=message):
        main([str(src), str(tmp_path / "store"), "--codec", "debug", *options])
    assert not (tmp_path / "store").exists()


def test_other_settings_and_changed_files_are_refused(tmp_path):
    src = make(tmp_path / "src", NAMES[:3])
    prep(src, tmp_path / "store")
    before = contents(tmp_path / "store")
    with pytest.raises(ValueError, match="settings.cut was 'fixed:30', now 'fixed:2'"):
        prep(src, tmp_path / "store", "--cut", "fixed:2")
    sf.write(src / NAMES[0], noise(2, 99), RATE)
    with pytest.raises(ValueError, match=f"{NAMES[0]}: is not the file that was encoded"):
        prep(src, tmp_path / "store")
    assert contents(tmp_path / "store") == before


def test_what_is_passed_over_by_its_ending_is_reported(tmp_path, capsys):
    src = make(tmp_path / "src", NAMES[:2])
    for name in ("a.txt", "cover.JPG", "loop.asd", "LICENSE", ".hidden.rx2", "a.rx2", "b.RX2", "c.sf2"):
        (src / name).write_bytes(b"x")
    prep(src, tmp_path / "store")
    lines = [line for line in capsys.readouterr().err.splitlines() if "ending" in line]
    assert lines == ["passed over 3 files whose ending is not that of sound: .rx2 (2), .sf2 (1)"]
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "x.rx2").write_bytes(b"x")
    with pytest.raises(UserError, match=r"no audio in it.*found \.rx2 \(1\)"):
        prep(tmp_path / "only", tmp_path / "none")


def test_the_sound_of_a_film(tmp_path):
    write_m4a(tmp_path / "x.m4a", noise(2, rate=44_100, channels=2), 44_100)
    (tmp_path / "x.m4a").rename(tmp_path / "x.MOV")
    assert sound_files.find_audio(tmp_path) == [tmp_path / "x.MOV"]
    assert sound_files.load(tmp_path / "x.MOV", RATE).seconds == pytest.approx(2, abs=0.05)


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path):
    src = make(tmp_path / "src", ["z/1.wav", "2.wav"])
    far = make(tmp_path / "far", ["3.wav"])
    (far / "back").symlink_to(src)
    for link, target in (("link", far), ("again", far), ("up", tmp_path), ("self", src), ("a", src / "z"),
                         ("broken", tmp_path / "none"), ("file.wav", far / "3.wav")):
        (src / link).symlink_to(target)
    found = [p.relative_to(src).as_posix() for p in sound_files.find_audio(src)]
    assert found == ["2.wav", "again/3.wav", "file.wav", "z/1.wav"]
