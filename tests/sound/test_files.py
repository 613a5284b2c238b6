"""Any format block by block, what is damaged is found, and mono at one rate."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from audiocraft_ext.sound import files as sound_files
from audiocraft_ext.sound import libsndfile
from audiocraft_ext.sound.files import BrokenAudio, mono, open_sound

ROOT = Path(__file__).parents[2]
RATE = 44_100
# What soundfile writes: (file, its options, what it is then called, whether it is lossy, largest error).
WRITTEN = [
    ("u8.wav", {"subtype": "PCM_U8"}, "WAV PCM_U8", False, 2**-7),
    ("16.wav", {}, "WAV PCM_16", False, 2**-15),
    ("24.wav", {"subtype": "PCM_24"}, "WAV PCM_24", False, 2**-23),
    ("32.wav", {"subtype": "PCM_32"}, "WAV PCM_32", False, 2**-23),
    ("float.wav", {"subtype": "FLOAT"}, "WAV FLOAT", False, 0),
    ("double.wav", {"subtype": "DOUBLE"}, "WAV DOUBLE", False, 0),
    ("alaw.wav", {"subtype": "ALAW"}, "WAV ALAW", True, 0.04),
    ("ulaw.wav", {"subtype": "ULAW"}, "WAV ULAW", True, 0.04),
    ("adpcm.wav", {"subtype": "MS_ADPCM"}, "WAV MS_ADPCM", True, 1),
    ("extensible.wav", {"format": "WAVEX", "subtype": "PCM_24"}, "WAVEX PCM_24", False, 2**-23),
    ("rf64.wav", {"format": "RF64"}, "RF64 PCM_16", False, 2**-15),
    ("x.w64", {}, "W64 PCM_16", False, 2**-15),
    ("x.caf", {}, "CAF PCM_16", False, 2**-15),
    ("x.au", {}, "AU PCM_16", False, 2**-15),
    ("x.aiff", {"subtype": "PCM_24"}, "AIFF PCM_24", False, 2**-23),
    ("x.aifc", {"format": "AIFF", "subtype": "FLOAT"}, "AIFF FLOAT", False, 0),
    ("sowt.aif", {"format": "AIFF", "endian": "LITTLE"}, "AIFF PCM_16", False, 2**-15),
    ("16.flac", {}, "FLAC PCM_16", False, 2**-15),
    ("24.FLAC", {"subtype": "PCM_24"}, "FLAC PCM_24", False, 2**-23),
    ("x.mp3", {}, "MP3", True, 1),
    ("x.ogg", {}, "OGG VORBIS", True, 1),
    ("x.opus", {"format": "OGG", "subtype": "OPUS"}, "OGG OPUS", True, 1),
]
# What PyAV writes: (file, codec, sample format, what it is then called, whether it is lossy).
MUXED = [
    ("x.m4a", "aac", "fltp", "MOV AAC", True),
    ("lossless.m4a", "alac", "s16p", "MOV ALAC", False),
    ("x.aac", "aac", "fltp", "AAC", True),
    ("x.wma", "wmav2", "fltp", "ASF WMAV2", True),
    ("x.mka", "flac", "s16", "MATROSKA FLAC", False),
    ("x.mp2", "mp2", "s16", "MP2", True),
    ("x.wv", "wavpack", "fltp", "WV WAVPACK", False),
    ("x.ac3", "ac3", "fltp", "AC3", True),
]


def music(seconds: float = 1.0, rate: int = RATE, channels: int = 2, seed: int = 0) -> np.ndarray:
    """Noise over a tone ``[n, C]``, each channel another one: nothing that a codec may leave out."""
    n = int(seconds * rate)
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(n) / rate)
    return (tone[:, None] * np.arange(1, channels + 1) / channels
            + np.random.default_rng(seed).normal(0, 0.05, (n, channels))).astype(np.float32)


def mux(path: Path, wav: np.ndarray, codec: str, form: str, rate: int = RATE, video: bool = False) -> None:
    """Write with PyAV; with a moving picture on request."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        if video:
            picture = container.add_stream("mpeg4", rate=10)
            picture.width = picture.height = 16
        stream = container.add_stream(codec, rate=rate)
        stream.codec_context.format, stream.bit_rate = form, 128_000
        step = stream.codec_context.frame_size or 1024
        for start in range(0, len(wav) // step * step, step):
            block = wav[start : start + step].T
            if form.startswith("s16"):
                block = np.round(block * 32767).astype(np.int16)
            if not form.endswith("p"):
                block = block.T.reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), format=form, layout="stereo")
            frame.rate, frame.pts = rate, start
            container.mux(stream.encode(frame))
        if video:
            for n in range(10):
                frame = av.VideoFrame.from_ndarray(np.full((16, 16, 3), n, np.uint8), format="rgb24")
                frame.pts = n
                container.mux(picture.encode(frame))
            container.mux(picture.encode(None))
        container.mux(stream.encode(None))


def whole(path: Path) -> np.ndarray:
    with open_sound(path) as sound:
        return np.concatenate(list(sound))


def noted(path: Path) -> tuple[np.ndarray, list[str]]:
    """The sound, and what the reader notes."""
    with open_sound(path) as sound:
        return np.concatenate(list(sound)), sound.notes


@pytest.mark.parametrize("name, options, called, lossy, error", WRITTEN, ids=[row[0] for row in WRITTEN])
def test_formats_of_libsndfile(tmp_path, name, options, called, lossy, error, monkeypatch):
    rate = 48_000 if "opus" in name else RATE
    wav = music(rate=rate)
    sf.write(tmp_path / name, wav, rate, **options)
    with open_sound(tmp_path / name) as sound:
        assert (sound.rate, sound.channels, sound.format, sound.lossy) == (rate, 2, called, lossy)
        blocks = list(sound)
    got = np.concatenate(blocks)
    assert not sound.notes
    assert got.dtype == np.float32
    if error < 1:
        assert got.shape == wav.shape and np.abs(got - wav).max() <= error
    else:
        shift = 0 if len(got) < 2000 else lag(got, wav)
        assert abs(len(got) - len(wav)) < 0.3 * rate and abs(shift) <= 64
        for channel in range(2):
            assert got[2000:30000, channel].std() == pytest.approx(wav[2000:30000, channel].std(), rel=0.1)
    monkeypatch.setattr(libsndfile, "BLOCK", 1001)
    with open_sound(tmp_path / name) as sound:
        small = list(sound)
    assert max(block.size for block in small) <= 1001
    np.testing.assert_array_equal(np.concatenate(small), got)  # no click where a block ends


def lag(one: np.ndarray, two: np.ndarray) -> int:
    """By how many samples ``one`` is late."""
    n = 2**15
    both = np.fft.irfft(np.fft.rfft(one[:n, 0], 2 * n) * np.fft.rfft(two[:n, 0], 2 * n).conj())
    return int((both.argmax() + n) % (2 * n) - n)


@pytest.mark.parametrize("name, codec, form, called, lossy", MUXED, ids=[row[0] for row in MUXED])
def test_formats_of_ffmpeg(tmp_path, name, codec, form, called, lossy):
    wav = music()
    mux(tmp_path / name, wav, codec, form)
    with open_sound(tmp_path / name) as sound:
        assert (sound.rate, sound.channels, sound.format, sound.lossy) == (RATE, 2, called, lossy)
        got = np.concatenate(list(sound))
    assert not sound.notes
    assert abs(len(got) - len(wav)) < 4000 and got.dtype == np.float32
    if lossy:
        assert got[5000:30000].std(axis=0) == pytest.approx(wav[5000:30000].std(axis=0), rel=0.15)
    else:
        assert np.abs(got - wav[: len(got)]).max() < 2**-14


@pytest.mark.parametrize("name", ["x.mp4", "x.mkv", "x.MOV", "x.avi"])
def test_the_sound_of_a_film(tmp_path, name):
    wav = music()
    mux(tmp_path / name, wav, "aac", "fltp", video=True)
    assert len(whole(tmp_path / name)) == pytest.approx(RATE, abs=4000)
    assert sound_files.find_audio(tmp_path) == [tmp_path / name]


@pytest.mark.parametrize("channels", [1, 6, 24])
def test_many_channels(tmp_path, channels):
    wav = music(0.3, channels=channels)
    sf.write(tmp_path / "x.wav", wav, RATE, subtype="FLOAT")
    np.testing.assert_array_equal(whole(tmp_path / "x.wav"), wav)


@pytest.mark.parametrize("channels", [1, 6, 12])
def test_many_channels_of_ffmpeg(tmp_path, channels):
    """Here from a Matroska file; more than eight once crashed."""
    av = pytest.importorskip("av")
    wav = music(0.3, channels=channels)
    with av.open(str(tmp_path / "x.mka"), "w") as container:
        layout = {1: "mono", 6: "5.1", 12: "7.1.4"}[channels]
        stream = container.add_stream("pcm_f32le", rate=RATE, layout=layout)
        frame = av.AudioFrame.from_ndarray(wav.reshape(1, -1), format="flt", layout=layout)
        frame.rate, frame.pts = RATE, 0
        container.mux([*stream.encode(frame), *stream.encode(None)])
    with open_sound(tmp_path / "x.mka") as sound:
        assert sound.channels == channels and not sound.lossy
        np.testing.assert_array_equal(np.concatenate(list(sound)), wav)


def test_memory_does_not_grow_with_length_or_channels(tmp_path):
    with sf.SoundFile(tmp_path / "x.wav", "w", RATE, 64, "PCM_16") as f:
        for _ in range(20):
            f.write(np.zeros((20_000, 64), np.int16))  # 100 MB as float32
    tracemalloc.start()
    total = sum(len(block) for block in open_sound(tmp_path / "x.wav"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 400_000 and peak < 4 * 4 * libsndfile.BLOCK


@pytest.mark.skipif(os.name != "posix", reason="POSIX file names")
@pytest.mark.parametrize("ending", [b".wav", b".m4a"])
def test_names_that_are_no_text(tmp_path, ending):
    plain = tmp_path / f"x{os.fsdecode(ending)}"
    wav = music(0.2)
    mux(plain, wav, "aac", "fltp") if ending == b".m4a" else sf.write(plain, wav, RATE)
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe" + ending))
    plain.rename(odd)
    np.testing.assert_array_equal(whole(odd), whole(odd))
    assert len(whole(odd)) > 0


CUT = [row[0] for row in WRITTEN] + ["x.m4a", "x.mka"]


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("name", CUT)
def test_what_is_cut_short_is_found(tmp_path, name, share):
    options = next((row[1] for row in WRITTEN if row[0] == name), None)
    rate, wav = (48_000 if "opus" in name else RATE), music(5 if options is None or "opus" in name else 2)
    if options is None:
        mux(tmp_path / name, np.concatenate([wav] * 3), "aac" if name == "x.m4a" else "flac",
            "fltp" if name == "x.m4a" else "s16")
    else:
        sf.write(tmp_path / name, wav, rate, **options)
    assert len(whole(tmp_path / name))
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(share * len(data))])
    if name in ("x.ogg", "x.opus"):  # it promises no length: what is there is read, and said
        got, notes = noted(tmp_path / name)
        assert notes == ["cut in its last page; all before it was read"] and len(got) < share * len(wav)
        return
    with pytest.raises(BrokenAudio, match="truncated|not audio that can be read"):
        whole(tmp_path / name)


@pytest.mark.parametrize("rate, channels", [(44_100, 1), (22_050, 2), (11_025, 1)])
@pytest.mark.parametrize("picture", [0, 3_000])
def test_an_mp3_says_how_long_it_is(tmp_path, rate, channels, picture):
    """Behind tags of any size, for each version of MPEG; without that header, what is there counts as whole."""
    sf.write(tmp_path / "x.mp3", music(3, rate, channels), rate)
    data = (tmp_path / "x.mp3").read_bytes()
    tag = b"ID3\4\0\0" + bytes([0, 0, picture >> 7, picture & 127]) + bytes(picture) if picture else b""
    (tmp_path / "x.mp3").write_bytes(tag + data)
    assert len(whole(tmp_path / "x.mp3")) == 3 * rate
    (tmp_path / "x.mp3").write_bytes(tag + data[: int(0.8 * len(data))])
    with pytest.raises(BrokenAudio, match=r"truncated, \d+ of \d+ samples are there"):
        whole(tmp_path / "x.mp3")


def test_an_mp3_that_does_not_know_its_length(tmp_path):
    """Quiet, then loud, at a bit rate that varies, without that header: no guess from the first frames. Two MP3s one
    behind the other, of which the header knows the first."""
    pytest.importorskip("av")
    wav = music(6) * np.repeat([0.001, 1], 3 * RATE)[:, None].astype(np.float32)
    sf.write(tmp_path / "x.mp3", wav, RATE, bitrate_mode="VARIABLE", compression_level=0.5)
    data = (tmp_path / "x.mp3").read_bytes()
    (tmp_path / "x.mp3").write_bytes(data.replace(b"Xing", bytes(4)).replace(b"Info", bytes(4)))
    assert len(whole(tmp_path / "x.mp3")) == pytest.approx(6 * RATE, abs=5000)
    with open_sound(tmp_path / "x.mp3") as sound:
        assert (sound.format, sound.lossy) == ("MP3", True)
    (tmp_path / "x.mp3").write_bytes(data + data)
    assert len(whole(tmp_path / "x.mp3")) == pytest.approx(12 * RATE, abs=10_000)


def test_flac_from_a_pipe_does_not_know_its_length(tmp_path):
    """Its STREAMINFO says 0 samples."""
    wav = music(2)
    sf.write(tmp_path / "x.flac", wav, RATE)
    data = bytearray((tmp_path / "x.flac").read_bytes())
    data[21] &= 0xF0  # 36 bits of the number of samples, after "fLaC", 4 bytes of header and 13.5 of others
    data[22:26] = bytes(4)
    (tmp_path / "x.flac").write_bytes(data)
    assert np.abs(whole(tmp_path / "x.flac") - wav).max() <= 2**-15


def test_a_wav_of_a_recorder_that_could_not_go_back(tmp_path):
    wav = music(1)
    sf.write(tmp_path / "x.wav", wav, RATE)
    data = bytearray((tmp_path / "x.wav").read_bytes())
    assert data[36:40] == b"data"
    for size in (0xFFFFFFFF, 0x7FFFF000):
        data[40:44] = struct.pack("<I", size)
        (tmp_path / "x.wav").write_bytes(data)
        assert np.abs(whole(tmp_path / "x.wav") - wav).max() <= 2**-15


def header(channels: int = 1, rate: int = RATE, bits: int = 16, size: int = 2**32 - 8, form: int = 1) -> bytes:
    """Of a WAV."""
    block = channels * bits // 8
    return (b"RIFF" + struct.pack("<I", size & 0xFFFFFFFF) + b"WAVEfmt "
            + struct.pack("<IHHIIHH", 16, form, channels, rate & 0xFFFFFFFF, rate * block & 0xFFFFFFFF, block & 0xFFFF,
                          bits) + b"data" + struct.pack("<I", size & 0xFFFFFFFF))


CLAIM = """
import resource, sys
resource.setrlimit(resource.RLIMIT_DATA, (2**28, 2**28))
from audiocraft_ext.sound.files import BrokenAudio, open_sound
for name in sys.argv[1:]:
    try:
        print(sum(len(block) for block in open_sound(name)))
    except BrokenAudio as error:
        print("refused")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_DATA")
def test_what_a_header_claims_is_not_allocated(tmp_path):
    """Hours of nothing in a few bytes: WAV, AIFF, AU, RF64, FLAC."""
    claims = {"a.wav": header() + bytes(1000), "b.wav": header(1024, bits=32) + bytes(1000),
              "c.au": b".snd" + struct.pack(">5I", 24, 2**32 - 1, 3, RATE, 1) + bytes(1000)}
    for name, old, new in (("d.flac", None, None), ("e.aiff", b"COMM", 2**32 - 1), ("f.rf64", b"ds64", 2**62)):
        sf.write(tmp_path / name, music(0.2), RATE, **({"format": "RF64"} if "rf64" in name else {}))
        data = bytearray((tmp_path / name).read_bytes())
        if old is None:
            data[21] |= 0xF
            data[22:26] = b"\xff" * 4
        else:
            at = data.index(old) + (10 if old == b"COMM" else 16)
            data[at : at + (4 if old == b"COMM" else 8)] = (struct.pack(">I", new) if old == b"COMM" else
                                                           struct.pack("<Q", new))
        claims[name] = bytes(data)
    for name, data in claims.items():
        (tmp_path / name).write_bytes(data)
    done = subprocess.run([sys.executable, "-c", CLAIM, *(str(tmp_path / name) for name in claims)], cwd=ROOT,
                          capture_output=True, text=True, timeout=20)
    lines = done.stdout.split()
    assert len(lines) == len(claims), done.stderr
    assert all(line == "refused" or int(line) < 20_000 for line in lines)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e9])
@pytest.mark.parametrize("at", [0, -1])
def test_values_that_are_no_sound_are_refused(tmp_path, bad, at):
    wav = music(4)
    wav[at, 1] = bad
    sf.write(tmp_path / "x.wav", wav, RATE, subtype="FLOAT")
    with pytest.raises(BrokenAudio, match="not numbers|no sound"):
        whole(tmp_path / "x.wav")


@pytest.mark.parametrize("data, reason", [
    (b"", "empty"), (b"x", "not audio"), (b"text\n" * 1000, "not audio"), (bytes(10_000), "not audio|no audio"),
    (b"\x89PNG\r\n\x1a\n" + bytes(100), "not audio"), (b"PK\3\4" + bytes(100), "not audio"),
    (header(1, 1, size=100) + bytes(100), "sample rate of 1 Hz"),
    (header(1, 2**31 - 1, size=100) + bytes(100), "Hz|not"),
    (header(0, size=100) + bytes(100), "not audio"), (header(1, 0, size=100) + bytes(100), "not audio|sample rate"),
    (header(size=0), "no audio"), (header()[:30], "not audio"),
])
@pytest.mark.parametrize("ending", [".wav", ".mp3", ".m4a"])
def test_what_is_no_sound(tmp_path, data, reason, ending):
    path = tmp_path / f"x{ending}"
    path.write_bytes(data)
    with pytest.raises(BrokenAudio, match=reason):
        whole(path)


def test_one_sample_is_a_sound(tmp_path):
    for name in ("x.wav", "x.flac", "x.aiff"):
        sf.write(tmp_path / name, np.full((1, 1), 0.5), RATE)
        np.testing.assert_allclose(whole(tmp_path / name), [[0.5]], atol=1e-4)


@pytest.mark.parametrize("text", ["ffconcat version 1.0\nfile 'secret.flac'\n",
                                  "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nsecret.flac\n#EXT-X-ENDLIST\n"])
def test_a_file_cannot_have_another_one_read(tmp_path, text, monkeypatch):
    pytest.importorskip("av")
    sf.write(tmp_path / "secret.flac", music(), RATE)
    (tmp_path / "x.m4a").write_text(text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BrokenAudio):
        whole(Path("x.m4a"))


# ---- Mono at one rate


def test_mono_is_the_mean_or_one_channel():
    wav = music(0.5, channels=3)
    one = np.concatenate(list(mono([wav], RATE, RATE)))
    np.testing.assert_allclose(one, wav.mean(axis=1), atol=1e-7)
    np.testing.assert_array_equal(np.concatenate(list(mono([wav], RATE, RATE, "channel 2"))), wav[:, 1])
    assert wav.flags.owndata and not np.shares_memory(next(mono([wav[:, :1]], RATE, RATE)), wav)


@pytest.mark.parametrize("rate", [8_000, 22_050, 32_000, 44_100, 48_000, 96_000, 192_000])
def test_blocks_of_any_size_are_the_same_bits(rate):
    wav = music(1, rate)
    want = np.concatenate(list(mono([wav], rate, 32_000)))
    assert len(want) == 32_000 and want.dtype == np.float32
    np.testing.assert_allclose(want, sound_files.resample(wav.mean(axis=1), rate, 32_000), atol=1e-6)
    for sizes in ([1] * 5 + [700, len(wav)], [1001] * (len(wav) // 1001 + 1)):
        ends = np.minimum(np.cumsum(sizes), len(wav))
        blocks = [wav[start:end] for start, end in zip([0, *ends[:-1]], ends)]
        np.testing.assert_array_equal(np.concatenate(list(mono(blocks, rate, 32_000))), want)


def test_load_is_what_the_blocks_are(tmp_path):
    wav = music(2, 48_000)
    wav[100, 1] = -0.9
    sf.write(tmp_path / "x.wav", wav, 48_000, subtype="FLOAT")
    sound = sound_files.load(tmp_path / "x.wav", 32_000)
    assert sound.rate == 48_000 and sound.seconds == 2 and sound.amplitude == np.float32(0.9)
    np.testing.assert_array_equal(sound.wav, np.concatenate(list(mono([wav], 48_000, 32_000))))
    assert sound.wav is not None and sound_files.duration(tmp_path / "x.wav") == 2
