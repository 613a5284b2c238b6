"""WAV files against readers that are not ours: libsndfile, scipy, FFmpeg, and a chunk walker from the specification."""

from __future__ import annotations

import io
import os
import re
import resource
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile as sf
from scipy.io import wavfile

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.sound.wav import Markers, WavStream, encode, write_wav

pytestmark = pytest.mark.filterwarnings("ignore:Chunk .non-data. not understood")  # scipy, of all but fmt and data
RATE = 32_000
LSB = {16: 2.0**-15, 24: 2.0**-23, 32: 0.0}
LOOP = Markers(loop=(0, 1001), bpm=172.5, beats=4, cues=(0, 250, 999), labels=("kick", "snare", "Zündung"))


def noise(n: int = 1001, level: float = 0.3) -> np.ndarray:
    return (np.random.default_rng(0).uniform(-1, 1, n) * level).astype(np.float32)


def walk(data: bytes) -> list[tuple[bytes, bytes]]:
    """Every chunk of a RIFF file as (name, body); a list's name is ``LIST`` and its type. Sizes must add up."""
    kind, size, form = struct.unpack_from("<4sI4s", data)
    assert (kind, form, size) == (b"RIFF", b"WAVE", len(data) - 8)
    return _bodies(data[12:])


def _bodies(data: bytes) -> list[tuple[bytes, bytes]]:
    chunks, at = [], 0
    while at < len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        body = data[at + 8: at + 8 + size]
        assert len(body) == size, f"{name} is cut off"
        at += 8 + size
        if size % 2:
            assert data[at: at + 1] == b"\0", f"{name} is not padded"
            at += 1
        chunks.append((name + body[:4], body[4:]) if name == b"LIST" else (name, body))
    return chunks


@pytest.mark.parametrize("bits", [16, 24, 32])
@pytest.mark.parametrize("n", [0, 1, 1000, 1001])
def test_three_readers_hear_the_same(tmp_path, bits, n):
    path, wav = tmp_path / "a.wav", noise(n)
    write_wav(path, wav, RATE, bits=bits, comment="c", title="t", markers=Markers(bpm=120))
    walk(path.read_bytes())
    with sf.SoundFile(path) as f:
        assert (f.samplerate, f.channels, f.frames) == (RATE, 1, n)
        assert f.subtype == {16: "PCM_16", 24: "PCM_24", 32: "FLOAT"}[bits]
        assert np.abs(f.read(dtype="float32") - wav).max(initial=0) <= LSB[bits] / 2
    if n == 0:
        return  # scipy takes an empty data chunk, FFmpeg has no frame to give
    rate, values = wavfile.read(path)
    assert rate == RATE and values.shape == (n,)
    scale = {16: 2**15, 24: 2**31, 32: 1}[bits]  # scipy shifts 24 bits to the top of 32
    assert np.abs(values / scale - wav).max() <= LSB[bits] / 2
    with av.open(str(path)) as container:
        assert container.streams.audio[0].rate == RATE
        resampler = av.AudioResampler(format="fltp")
        frames = [f.to_ndarray()[0] for packet in container.decode(audio=0) for f in resampler.resample(packet)]
        assert np.abs(np.concatenate(frames) - wav).max() <= LSB[bits] / 2
        assert container.metadata["comment"] == "c" and container.metadata["title"] == "t"


def test_text_in_the_file(tmp_path):
    """Odd and even lengths, other alphabets, nothing where nothing was said."""
    for comment in ('{"seed": 7}', "drückt 鼓", "a\0b"):
        write_wav(tmp_path / "a.wav", noise(), RATE, comment=comment, title="t")
        with sf.SoundFile(tmp_path / "a.wav") as f:
            assert (f.comment, f.title) == (comment.replace("\0", ""), "t") and "micro-musicgen" in f.software
    write_wav(tmp_path / "a.wav", noise(), RATE)
    with sf.SoundFile(tmp_path / "a.wav") as f:
        assert (f.comment, f.title) == ("", "")


def test_libsndfile_reads_loop_tempo_and_cues(tmp_path):
    """Its log of a file names each field as it understood it."""
    write_wav(tmp_path / "a.wav", noise(), RATE, markers=LOOP)
    log = " ".join(sf.SoundFile(tmp_path / "a.wav").extra_info.split())
    for said in ("Period : 31250 nsec", "Midi Note : 60", "Loop Count : 1",
                 "Type : 0 Start : 0 End : 1000 Fraction : 0 Count : 0",  # the end is the last sample played
                 "Flags : 0x0004 (Loop,RootNoteInvalid,StretchOn,RAMBased,??Off)", "Beats : 4", "Meter : 4/4",
                 "Tempo : 172.5", "cue : 76 Count : 3", "labl : 3 : Zündung"):
        assert said in log, f"{said}\n{log}"
    cues = re.findall(r"Cue ID : +(\d+) Pos : +(\d+) Chunk : data Chk Start : 0 Blk Start : 0 Offset : +(\d+)", log)
    assert cues == [("1", "0", "0"), ("2", "250", "250"), ("3", "999", "999")]
    assert "Unknown" not in log and "***" not in log


def test_chunks_by_the_specification(tmp_path):
    write_wav(tmp_path / "a.wav", noise(), RATE, bits=24, comment="odd", markers=LOOP)
    chunks = walk((tmp_path / "a.wav").read_bytes())
    assert [name for name, _ in chunks] == [b"fmt ", b"data", b"LISTINFO", b"smpl", b"acid", b"cue ", b"LISTadtl"]
    body = dict(chunks)
    assert struct.unpack("<HHIIHH", body[b"fmt "]) == (1, 1, RATE, RATE * 3, 3, 24)
    assert len(body[b"data"]) == 3003  # and a byte of padding, which walk() saw
    assert struct.unpack("<15I", body[b"smpl"]) == (0, 0, 31250, 60, 0, 0, 0, 1, 0, 0, 0, 0, 1000, 0, 0)
    flags, _, _, _, beats, denominator, numerator, tempo = struct.unpack("<IHHfIHHf", body[b"acid"])
    assert (flags, beats, denominator, numerator, tempo) == (4, 4, 4, 4, 172.5)
    assert struct.unpack_from("<I", body[b"cue "]) == (3,)
    points = list(struct.iter_unpack("<II4sIII", body[b"cue "][4:]))
    assert points == [(1, 0, b"data", 0, 0, 0), (2, 250, b"data", 0, 0, 250), (3, 999, b"data", 0, 0, 999)]
    labels = [(name, struct.unpack_from("<I", b)[0], b[4:].decode()) for name, b in _bodies(body[b"LISTadtl"])]
    assert labels == [(b"labl", 1, "kick\0"), (b"labl", 2, "snare\0"), (b"labl", 3, "Zündung\0")]
    assert dict(_bodies(body[b"LISTINFO"])) == {b"ICMT": b"odd\0", b"ISFT": b"micro-musicgen\0"}


def test_acid_without_beats_and_of_one_shots(tmp_path):
    """Beats follow from tempo and length; a one-shot says that it is one, with a tempo or without."""
    def acid(markers, n=RATE * 2):
        write_wav(tmp_path / "a.wav", noise(n), RATE, markers=markers)
        return struct.unpack("<IHHfIHHf", dict(walk((tmp_path / "a.wav").read_bytes()))[b"acid"])

    assert acid(Markers(bpm=120))[4] == 4 and acid(Markers(bpm=120, beats=7))[4] == 7
    assert acid(Markers(bpm=174), n=22_069)[4] == 2  # 0.69 s
    assert acid(Markers(one_shot=True))[0] == 1 and acid(Markers(one_shot=True, bpm=90))[0] == 1
    write_wav(tmp_path / "b.wav", noise(), RATE, markers=Markers())
    assert [name for name, _ in walk((tmp_path / "b.wav").read_bytes())] == [b"fmt ", b"data", b"LISTINFO"]


@pytest.mark.parametrize("markers, match", [
    (Markers(loop=(0, 1002)), "loop"), (Markers(loop=(5, 5)), "loop"), (Markers(loop=(-1, 5)), "loop"),
    (Markers(cues=(3, 1001)), "cue at sample 1001"), (Markers(cues=(-1,)), "cue"),
    (Markers(cues=(1, 2), labels=("a",)), "1 labels for 2"), (Markers(bpm=0), "tempo"),
    (Markers(bpm=float("nan")), "tempo"),
])
def test_markers_that_the_file_cannot_have(tmp_path, markers, match):
    with pytest.raises(ValueError, match=match):
        write_wav(tmp_path / "a.wav", noise(), RATE, markers=markers)
    assert not list(tmp_path.iterdir())


def test_full_scale_and_beyond(tmp_path):
    """Integers end at full scale and never wrap; floats are what they were, to the bit."""
    wav = np.array([0, 1, -1, 1.5, -1.5, 1e30, -np.inf, np.inf, 0.5], np.float32)
    expected = np.array([0, 1, -1, 1, -1, 1, -1, 1, 0.5])
    for bits in (16, 24):
        write_wav(tmp_path / "a.wav", wav, RATE, bits=bits)
        assert np.abs(sf.read(tmp_path / "a.wav")[0] - expected).max() <= LSB[bits]
    write_wav(tmp_path / "a.wav", wav, RATE, bits=32)
    assert np.array_equal(sf.read(tmp_path / "a.wav", dtype="float32")[0], wav)


@pytest.mark.parametrize("bits", [16, 24])
def test_what_was_read_is_written_as_it_was(bits):
    """Each integer survives being a float: a WAV read and written is the same samples."""
    full, width = 2 ** (bits - 1), bits // 8
    values = np.unique(np.linspace(-full, full - 1, 70_000).astype(np.int64))
    data = encode((values / full).astype(np.float32), bits)
    back = [int.from_bytes(data[i: i + width], "little", signed=True) for i in range(0, len(data), width)]
    assert back == values.tolist()


def test_the_same_clip_is_the_same_bytes(tmp_path, monkeypatch):
    """Also a day later: a float file has no time of writing in it."""
    for bits in (16, 24, 32):
        write_wav(tmp_path / "a.wav", noise(), RATE, bits=bits, comment="c", markers=LOOP)
        with monkeypatch.context() as m:
            m.setattr(time, "time", lambda: 4e9)
            write_wav(tmp_path / "b.wav", noise(), RATE, bits=bits, comment="c", markers=LOOP)
        assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()


@pytest.mark.parametrize("bits", [0, 8, 20, 64])
def test_bits_that_there_are_not(tmp_path, bits):
    with pytest.raises(UserError, match="16, 24 or 32"):
        write_wav(tmp_path / "a.wav", noise(), RATE, bits=bits)
    with pytest.raises(UserError, match="16, 24 or 32"):
        WavStream(tmp_path / "a.wav", RATE, bits)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_what_was_there(tmp_path):
    """The limit on the size of files stands in for the disk."""
    path = tmp_path / "a.wav"
    write_wav(path, noise(10), RATE)
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(UserError, match="cannot write .*a.wav: File too large") as error:
            write_wav(path, noise(100_000), RATE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, old)
    assert "\n" not in str(error.value)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
    with pytest.raises(UserError, match="No such file"):
        write_wav(tmp_path / "none" / "a.wav", noise(), RATE)


@pytest.mark.parametrize("bits", [16, 24, 32])
def test_stream_is_the_file(tmp_path, bits):
    """Blocks of any size come to the samples of the whole, with sizes that add up; closing twice is once."""
    wav, path = noise(5001), tmp_path / "a.wav"
    with WavStream(path, RATE, bits) as stream:
        for start in range(0, 5001, 777):
            stream.write(wav[start: start + 777])
    stream.close()
    assert stream.samples == 5001
    chunks = walk(path.read_bytes())
    assert chunks[-1] == (b"data", encode(wav, bits))
    assert dict(chunks).get(b"fact") == (struct.pack("<I", 5001) if bits == 32 else None)
    assert np.abs(sf.read(path, dtype="float32")[0] - wav).max() <= LSB[bits] / 2
    assert len(wavfile.read(path)[1]) == 5001


@pytest.mark.parametrize("bits", [16, 24, 32])
def test_stream_can_be_played_at_any_time(tmp_path, bits, monkeypatch):
    """As after ``kill -9``: whatever was written by the last correction is there for every reader."""
    path, now = tmp_path / "a.wav", [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    stream, heard = WavStream(path, RATE, bits), []
    for now[0] in (0.0, 0.5, 1.2, 1.9, 2.3):
        stream.write(noise(1001))
        copy = io.BytesIO(path.read_bytes())  # no close, no flush
        assert sf.SoundFile(copy).frames % 1001 == 0
        heard.append(len(wavfile.read(path)[1]) // 1001)
    assert heard == [1, 1, 3, 3, 5]
    stream.close()


def test_stream_says_unknown_in_a_pipe():
    """FFmpeg and libsndfile read it to its end."""
    script = ("import numpy as np; from audiocraft_ext.sound.wav import WavStream\n"
              "with WavStream('-', 32000) as s:\n    for _ in range(3): s.write(np.full(1000, 0.25))")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert struct.unpack_from("<I", done.stdout, 4) == (0xFFFFFFFF,) == struct.unpack_from("<I", done.stdout, 40)
    assert len(done.stdout) == 44 + 6000
    assert np.array_equal(sf.read(io.BytesIO(done.stdout))[0], np.full(3000, 0.25))
    with av.open(io.BytesIO(done.stdout)) as container:
        assert sum(f.samples for f in container.decode(audio=0)) == 3000


@pytest.mark.parametrize("how, size", [(">", 44 + 2000), (">>", 3 + 44 + 2000)])
def test_stream_into_a_redirected_stdout(tmp_path, how, size):
    """``> FILE`` has its sizes corrected; ``>> FILE`` cannot go back and must not write its header twice."""
    (tmp_path / "a.wav").write_bytes(b"abc")
    script = ("import numpy as np; from audiocraft_ext.sound.wav import WavStream\n"
              "with WavStream('-', 32000) as s: s.write(np.full(1000, 0.25))")
    with open(tmp_path / "a.wav", "wb" if how == ">" else "ab") as out:
        subprocess.run([sys.executable, "-c", script], stdout=out, check=True, timeout=60)
    data = (tmp_path / "a.wav").read_bytes()
    assert len(data) == size
    if how == ">":
        assert walk(data)[-1][0] == b"data"


@pytest.mark.parametrize("bits, kind, scale", [(16, "<i2", 2**15), (32, "<f4", 1)])
def test_raw_has_no_header(tmp_path, bits, kind, scale):
    with WavStream(tmp_path / "a.raw", RATE, bits, raw=True) as stream:
        stream.write(noise(1001))
        stream.write(noise(3))
    back = np.frombuffer((tmp_path / "a.raw").read_bytes(), kind) / scale
    assert np.abs(back - np.concatenate([noise(1001), noise(3)])).max() <= LSB[bits] / 2


def test_nobody_listens_any_more(tmp_path):
    """The error is BrokenPipeError, from write and not once more from leaving the block."""
    reader, writer = os.pipe()
    stream = WavStream(f"/dev/fd/{writer}", RATE)
    os.close(reader)
    os.close(writer)
    with pytest.raises(BrokenPipeError), stream:
        for _ in range(100):
            stream.write(noise(100_000))
    stream.close()


def test_the_first_error_is_the_one_to_hear_about(tmp_path, monkeypatch):
    """Ctrl-C while the disk is full is Ctrl-C."""
    def full(*_):
        raise UserError("full")

    for error in (KeyboardInterrupt, None):
        with pytest.raises(error or UserError), WavStream(tmp_path / "a.wav", RATE) as stream:
            monkeypatch.setattr(stream, "_patch", full)
            if error:
                raise error


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_stream_onto_a_full_disk():
    with pytest.raises(UserError, match="^cannot write /dev/full: No space left on device$"):
        WavStream("/dev/full", RATE)
    with pytest.raises(UserError, match="none/a.wav: No such file"):
        WavStream("none/a.wav", RATE)


def test_a_disk_that_fills_leaves_a_file_that_plays(tmp_path):
    path, limits = tmp_path / "a.wav", resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_001, limits[1]))
    try:
        with pytest.raises(UserError, match="File too large"), WavStream(path, RATE) as stream:
            for _ in range(10):
                stream.write(noise(1001))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, old)
    assert sf.info(path).frames == 4 * 1001 == len(wavfile.read(path)[1])


def test_level_zero():
    """infer.py can write without soundfile: the standard library and numpy are all that it takes."""
    names = subprocess.run([sys.executable, "-c", "import sys, audiocraft_ext.sound.wav; print(*sys.modules)"],
                           capture_output=True, text=True, check=True, timeout=60).stdout.split()
    assert not {"soundfile", "soxr", "scipy", "torch", "librosa"} & set(names)
