"""Files that are not as they should be, and are sound all the same: all that is there is read, and what is odd is
noted. Each is made here as a known program makes it."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from audiocraft_ext.sound import libsndfile, promise
from audiocraft_ext.sound.files import BrokenAudio, duration
from tests.sound.test_files import RATE, music, mux, noted, whole

FINE = 2**-15


def sizes(path: Path) -> tuple[bytearray, int]:
    """A WAV's bytes, and where the size of its sound is written."""
    data = bytearray(path.read_bytes())
    return data, data.index(b"data") + 4


# ---- Tags never decide about sound


TAGS = {"latin1": "Jóga".encode("latin-1"), "macroman": b"J\x97ga", "shift-jis": "テスト".encode("shift-jis"),
        "broken": b"\xff\xfe\x00\xd8"}


def id3v1(title: bytes) -> bytes:
    return b"TAG" + title.ljust(30, b"\0") + bytes(95)


@pytest.mark.parametrize("title", TAGS.values(), ids=TAGS)
@pytest.mark.parametrize("xing", [True, False])
def test_a_tag_of_an_mp3_costs_nothing(tmp_path, title, xing):
    pytest.importorskip("av")
    sf.write(tmp_path / "x.mp3", music(2), RATE)
    data = (tmp_path / "x.mp3").read_bytes()
    data = data if xing else data.replace(b"Xing", bytes(4)).replace(b"Info", bytes(4))
    (tmp_path / "x.mp3").write_bytes(data)
    plain = whole(tmp_path / "x.mp3")
    (tmp_path / "x.mp3").write_bytes(data + id3v1(title))
    np.testing.assert_array_equal(whole(tmp_path / "x.mp3"), plain)


@pytest.mark.parametrize("title", TAGS.values(), ids=TAGS)
@pytest.mark.parametrize("codec", ["pcm_s16le", "mp3"])
def test_a_tag_of_a_wav_costs_nothing(tmp_path, title, codec):
    write(tmp_path / "x.wav", music(1), codec)
    plain, data = whole(tmp_path / "x.wav"), bytearray((tmp_path / "x.wav").read_bytes())
    info = b"INFOINAM" + struct.pack("<I", len(title)) + title + bytes(len(title) % 2)
    data += b"LIST" + struct.pack("<I", len(info)) + info
    data[4:8] = struct.pack("<I", len(data) - 8)
    (tmp_path / "x.wav").write_bytes(data)
    np.testing.assert_array_equal(whole(tmp_path / "x.wav"), plain)


@pytest.mark.parametrize("title", [title for title in TAGS.values() if b"\0" not in title])
def test_a_tag_of_a_film_costs_nothing(tmp_path, title):
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "x.mov"), "w") as container:
        container.metadata["title"] = "x" * len(title)
        encode(container, "aac", music(1))
    plain, data = whole(tmp_path / "x.mov"), (tmp_path / "x.mov").read_bytes()
    assert b"x" * len(title) in data
    (tmp_path / "x.mov").write_bytes(data.replace(b"x" * len(title), title))
    np.testing.assert_array_equal(whole(tmp_path / "x.mov"), plain)


# ---- What lies behind the last sample


@pytest.mark.parametrize("block", [1000, libsndfile.BLOCK])
@pytest.mark.parametrize("behind", [id3v1(b"x"), bytes(5000), b"\xff\xf8" * 500], ids=["ID3v1", "zeros", "syncs"])
def test_a_flac_with_something_behind_it(tmp_path, behind, block, monkeypatch):
    monkeypatch.setattr(libsndfile, "BLOCK", block)
    wav = music(1.5, channels=1)
    sf.write(tmp_path / "x.flac", wav, RATE)
    (tmp_path / "x.flac").write_bytes((tmp_path / "x.flac").read_bytes() + behind)
    got = whole(tmp_path / "x.flac")
    assert got.shape == wav.shape and np.abs(got - wav).max() <= FINE


@pytest.mark.parametrize("name", ["x.wav", "x.aiff", "x.ogg"])
def test_other_formats_with_something_behind_them(tmp_path, name):
    sf.write(tmp_path / name, music(1), RATE)
    plain = whole(tmp_path / name)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes() + id3v1(b"x"))
    np.testing.assert_array_equal(whole(tmp_path / name), plain)


# ---- Headers that were never finished, or promise a little too much


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
@pytest.mark.parametrize("outer", ["right", "zero", "until the sound"])
def test_a_wav_without_a_size_is_read_to_its_end(tmp_path, subtype, outer):
    wav = music(1)
    sf.write(tmp_path / "x.wav", wav, RATE, subtype=subtype)
    data, at = sizes(tmp_path / "x.wav")
    data[at : at + 4] = bytes(4)
    data[4:8] = {"right": data[4:8], "zero": bytes(4), "until the sound": struct.pack("<I", at - 4)}[outer]
    (tmp_path / "x.wav").write_bytes(data)
    got, notes = noted(tmp_path / "x.wav")
    assert len(got) == pytest.approx(len(wav), abs=4) and np.abs(got[:40_000] - wav[:40_000]).max() <= FINE
    assert len(notes) == 1 and "never finished" in notes[0]


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
@pytest.mark.parametrize("frames", [True, False])
@pytest.mark.parametrize("size", [0, 8])  # an offset and a block size lie before the sound
def test_an_aiff_without_a_size_is_read_to_its_end(tmp_path, subtype, size, frames):
    wav = music(1)
    sf.write(tmp_path / "x.aiff", wav, RATE, subtype=subtype)
    data = bytearray((tmp_path / "x.aiff").read_bytes())
    data[(at := data.index(b"SSND") + 4) : at + 4] = struct.pack(">I", size)
    if not frames:
        data[(at := data.index(b"COMM") + 10) : at + 4] = bytes(4)
    (tmp_path / "x.aiff").write_bytes(data)
    got, notes = noted(tmp_path / "x.aiff")
    assert got.shape == wav.shape and np.abs(got - wav).max() <= FINE
    assert len(notes) == 1 and "never finished" in notes[0]


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
@pytest.mark.parametrize("inner", [bytes(4), b"\xff" * 4])
def test_an_rf64_without_a_size_is_read_to_its_end(tmp_path, subtype, inner):
    wav = music(1)
    sf.write(tmp_path / "x.wav", wav, RATE, format="RF64", subtype=subtype)
    data, at = sizes(tmp_path / "x.wav")
    data[at : at + 4] = inner
    data[(at := data.index(b"ds64") + 8) : at + 24] = bytes(24)
    (tmp_path / "x.wav").write_bytes(data)
    got, notes = noted(tmp_path / "x.wav")
    assert got.shape == wav.shape and np.abs(got - wav).max() <= FINE
    assert len(notes) == 1 and "never finished" in notes[0]


@pytest.mark.parametrize("name, form", [("x.wav", "WAV"), ("x.wav", "RF64"), ("x.aiff", "AIFF")])
def test_an_empty_file_stays_empty(tmp_path, name, form):
    """What lies behind no sound is chunks, and no sound."""
    sf.write(tmp_path / name, music(0), RATE, format=form)
    data, order = (tmp_path / name).read_bytes(), ">" if form == "AIFF" else "<"
    (tmp_path / name).write_bytes(data + b"LIST" + struct.pack(f"{order}I", 4000) + b"INFO" + bytes(3996))
    with pytest.raises(BrokenAudio, match="no audio"):
        whole(tmp_path / name)


@pytest.mark.parametrize("name", ["x.wav", "x.aiff", "x.caf", "x.w64"])
@pytest.mark.parametrize("missing, there", [(60, True), (400, True), (50_000, False)])
def test_one_rule_of_tolerance(tmp_path, name, missing, there):
    """A hundredth and 50 ms."""
    wav = music(2)  # 352,800 bytes
    sf.write(tmp_path / name, wav, RATE)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) - missing])
    if there:
        got, notes = noted(tmp_path / name)
        assert len(wav) - missing // 4 - 2 <= len(got) <= len(wav) and np.abs(got - wav[: len(got)]).max() <= FINE
        assert len(notes) == 1 and "are there" in notes[0] or name in ("x.w64", "x.caf") and len(got) == len(wav)
    else:
        with pytest.raises(BrokenAudio, match="truncated"):
            whole(tmp_path / name)


def test_the_rule(tmp_path):
    notes: list[str] = []
    promise.check(tmp_path, 100, 100, 1, "samples", notes)
    assert not notes
    promise.check(tmp_path, 950, 1000, 0.95, "samples", notes)  # 50 ms of 1 s
    promise.check(tmp_path, 9900, 10_000, None, "bytes", notes)
    assert notes == [f"a little short: {what} are there" for what in ("950 of 1000 samples", "9900 of 10000 bytes")]
    for case in ((930, 1000, 0.93), (9899, 10_000, None), (0, 10, 0.0)):
        with pytest.raises(BrokenAudio, match="truncated"):
            promise.check(tmp_path, *case, "samples", notes)


# ---- Whatever FFmpeg says of a damaged file


@pytest.mark.parametrize("name, codec", [("x.ac3", "ac3"), ("x.wma", "wmav2"), ("x.m4a", "aac")])
def test_no_error_of_ffmpeg_gets_out(tmp_path, name, codec):
    """Some are of a number that PyAV has no class for, some are neither OSError nor ValueError."""
    mux(tmp_path / name, music(1, 48_000), codec, "fltp", 48_000)
    data, refused = (tmp_path / name).read_bytes(), 0
    for seed in range(90, 120):
        rng, damaged = np.random.default_rng(seed), bytearray(data)
        for at in rng.integers(0, 100 if seed % 2 else len(data), 10 if seed % 2 else 300):
            damaged[at] = 255
        (tmp_path / name).write_bytes(damaged[: rng.integers(40, len(data))])
        assert duration(tmp_path / name) >= 0
        try:
            whole(tmp_path / name)
        except BrokenAudio:
            refused += 1
    assert refused > 5


# ---- Ogg


def ogg(path: Path, wav: np.ndarray, subtype: str, rate: int = 48_000) -> bytes:
    sf.write(path, wav, rate, format="OGG", subtype=subtype)
    return path.read_bytes()


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_all_links_of_a_chain_are_read(tmp_path, subtype):
    parts = [music(seconds, 48_000, seed=n) for n, seconds in enumerate((1, 2, 0.5))]
    data = [ogg(tmp_path / f"{n}.ogg", wav, subtype) for n, wav in enumerate(parts)]
    alone = [whole(tmp_path / f"{n}.ogg") for n in range(3)]
    (tmp_path / "x.ogg").write_bytes(b"".join(data))
    got, notes = noted(tmp_path / "x.ogg")
    np.testing.assert_array_equal(got, np.concatenate(alone))
    assert not notes


def test_links_that_cannot_be_joined_are_noted(tmp_path):
    data = ogg(tmp_path / "a.ogg", music(1, 48_000), "VORBIS") + ogg(tmp_path / "b.ogg", music(1), "VORBIS", RATE)
    (tmp_path / "x.ogg").write_bytes(data)
    got, notes = noted(tmp_path / "x.ogg")
    assert len(got) == len(whole(tmp_path / "a.ogg")) and notes[0].startswith("not all of it was read: 1 of 2 links")


def test_a_chain_that_is_cut_is_noted(tmp_path):
    one, two = (ogg(tmp_path / f"{n}.ogg", music(2, 48_000, seed=n), "VORBIS") for n in range(2))
    (tmp_path / "x.ogg").write_bytes(one + two[: len(two) - 1])
    got, notes = noted(tmp_path / "x.ogg")
    assert 96_000 < len(got) < 192_000 and notes[0].startswith("cut in its last page")


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_an_ogg_without_the_flag_of_its_end_is_whole(tmp_path, subtype):
    data = bytearray(ogg(tmp_path / "x.ogg", music(2, 48_000), subtype))
    plain, page = whole(tmp_path / "x.ogg"), data.rindex(b"OggS")
    data[page + 5] &= ~4
    data[page + 22 : page + 26] = bytes(4)
    data[page + 22 : page + 26] = struct.pack("<I", checksum(bytes(data[page:])))
    (tmp_path / "x.ogg").write_bytes(data)
    got, notes = noted(tmp_path / "x.ogg")
    assert len(got) >= len(plain) and np.abs(got[: len(plain)] - plain).max() < 1e-6
    assert len(notes) == 1 and "without the end" in notes[0]


def checksum(page: bytes) -> int:
    """RFC 3533: a CRC of 32 bits, not reflected, of a page whose own sum is 0."""
    value = 0
    for byte in page:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value >> 31 else 0)) & 0xFFFFFFFF
    return value


# ---- Clocks and rates


def write(path: Path, wav: np.ndarray, codec: str, **how) -> None:
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        encode(container, codec, wav, **how)


def encode(container, codec: str, wav: np.ndarray, rate: int = RATE, jump: int = 0) -> None:
    """Into a container, with timestamps that jump by so many samples in the middle."""
    import av

    stream = container.add_stream(codec, rate=rate)
    if codec in ("aac", "libopus", "mp3", "pcm_s16le"):
        stream.codec_context.format = {"aac": "fltp", "libopus": "flt", "mp3": "fltp", "pcm_s16le": "s16"}[codec]
    packed = stream.codec_context.format.name in ("flt", "s16")
    wav = np.round(wav * 32767).astype(np.int16) if codec == "pcm_s16le" else wav
    step = stream.codec_context.frame_size or 1024
    packets = []
    for start in range(0, len(wav) // step * step, step):
        block = wav[start : start + step].T
        block = block.T.reshape(1, -1) if packed else block
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), stream.codec_context.format.name, "stereo")
        frame.rate, frame.pts = rate, start
        packets += stream.encode(frame)
    packets += stream.encode(None)
    for n, packet in enumerate(packets):
        if n > len(packets) // 2:
            packet.pts += round(jump / rate / packet.time_base)
            packet.dts = packet.pts
        container.mux(packet)


@pytest.mark.parametrize("name, codec, rate", [("x.webm", "libopus", 48_000), ("x.mka", "libopus", 48_000),
                                               ("x.m4a", "aac", RATE), ("x.mov", "aac", RATE),
                                               ("x.mov", "pcm_s16le", RATE)])
def test_a_clock_that_jumps_costs_no_sample(tmp_path, name, codec, rate):
    wav = music(2, rate)
    write(tmp_path / f"plain_{name}", wav, codec, rate=rate)
    write(tmp_path / name, wav, codec, rate=rate, jump=3 * rate)
    plain, got = whole(tmp_path / f"plain_{name}"), whole(tmp_path / name)
    np.testing.assert_array_equal(got, plain)


def test_mp3_inside_a_wav(tmp_path):
    write(tmp_path / "x.wav", music(2), "mp3")
    got = whole(tmp_path / "x.wav")
    assert len(got) == pytest.approx(2 * RATE, abs=3500)


@pytest.mark.parametrize("rate, channels, how", [(RATE, 1, "CONSTANT"), (22_050, 2, "VARIABLE"), (8000, 1, "VARIABLE")])
@pytest.mark.parametrize("share", [0.01, 0.5, 0.95])
@pytest.mark.parametrize("decoder", ["av", "libsndfile"])
def test_an_mp3_whose_header_counts_too_few_frames(tmp_path, rate, channels, how, share, decoder, monkeypatch):
    """As an editor leaves it that cut or joined and kept the first frame. All is read, but for a thousandth of it where
    a decoder believes that the end is there; with libsndfile alone a note says how much."""
    if decoder == "av":
        pytest.importorskip("av")
    else:
        monkeypatch.setattr(libsndfile.importlib.util, "find_spec", lambda name: None)
    sf.write(tmp_path / "x.mp3", music(30, rate, channels), rate, bitrate_mode=how)
    plain, notes = noted(tmp_path / "x.mp3")
    assert not notes and len(plain) == 30 * rate
    data = bytearray((tmp_path / "x.mp3").read_bytes())
    at = max(data.find(b"Xing"), data.find(b"Info")) + 8
    counted = int.from_bytes(data[at : at + 4], "big")
    data[at : at + 4] = round(share * counted).to_bytes(4, "big")
    (tmp_path / "x.mp3").write_bytes(data)
    got, notes = noted(tmp_path / "x.mp3")
    seconds = 30.0 if decoder == "av" else len(got) / rate
    assert len(got) == pytest.approx(seconds * rate, abs=0.1 * rate)
    read = "all" if decoder == "av" else f"{seconds:.1f} s"
    assert notes == [f"its header counts {round(share * counted)} frames, it has {counted}; {read} of it was read"]


@pytest.mark.parametrize("rates, channels", [((16_000, RATE), (1, 1)), ((RATE, 22_050), (2, 2)),
                                             ((RATE, RATE), (1, 2))])
def test_an_mp3_that_changes_is_read_to_its_end(tmp_path, rates, channels):
    pytest.importorskip("av")
    data = b""
    for rate, count in zip(rates, channels):
        sf.write(tmp_path / "part.mp3", music(2, rate, count), rate)
        data += (tmp_path / "part.mp3").read_bytes()
    (tmp_path / "x.mp3").write_bytes(data)
    got, notes = noted(tmp_path / "x.mp3")
    assert len(got) == pytest.approx(4 * rates[0], rel=0.05) and got.shape[1] == channels[0]
    assert got[-rates[0] :].std() == pytest.approx(got[: rates[0]].std(), rel=0.3)
    assert len(notes) == 1 and notes[0].startswith(f"changes from {rates[0]} Hz")
