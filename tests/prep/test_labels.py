"""What people say of a sound: in names, tags, sidecars, licences beside it, and tables."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.sound.wav import Markers, write_wav
from data_prep.audio.analysis import tags
from data_prep.audio.analysis.labels import read
from data_prep.shared import labels
from data_prep.shared.labels import Row
from data_prep.shared.naming import Labels, bpm_of, in_name, key_of, licence_of

RATE = 8000
SOUND = np.zeros(RATE, np.float32)


@pytest.mark.parametrize("name, bpm, key", [
    ("amen_170bpm", 170, None), ("Loop 174 BPM Am", 174, "Am"), ("174_F#m_bass", 174, "F#m"),
    ("bass_Am_128", 128, "Am"), ("Someone - 174 Drum Loop", 174, None),
    ("bpm174 roller", 174, None), ("drum_01_bpm_174", 174, None), ("break (172.5 bpm)", 172.5, None),
    ("DNB_174_drum_loop_02", 174, None), ("170 amen break", 170, None), ("FSS_DNB_174_drum_loop_Gmin", 174, "Gm"),
    ("SO_AM_120_bass_loop_Cmin", 120, "Cm"), ("140 A minor pad", 140, "Am"), ("pad Bb major 90", 90, "Bb"),
    ("Prelude in C# minor", None, "C#m"), ("pad F♯m", None, "F#m"), ("KSHMR_Cmaj_stab", None, "C"),
    ("Sonata in A minor", None, "Am"), ("loop_drone_g_97", None, None), ("94 BPM_C min", 94, "Cm"),
    ("Loop_174BPM_E_minor_Am", 174, None)])
def test_names_that_say_something(name, bpm, key):
    assert in_name(name) == (bpm, key)


@pytest.mark.parametrize("name", [
    "track 120", "loop_120", "SP-1200", "TR-808", "TR 808 kick", "1994", "live 1994-08-12", "take 174", "174",
    "12bit_loop", "kick_99_break", "take_120_loop",
    "SH-101 bass loop", "SH_101_bass_loop", "Juno 106 pad loop", "CR-78_loop", "128kbps loop", "song 128 kbps break",
    "120 bars loop", "kick 99 (break)", "loop 100 of 200 break", "Where I Am", "I Am 120", "A Minor Inconvenience",
    "a major problem", "Am", "Am I Wrong", "Bm", "C", "Em 120 em", "vol.2 - 07", "bpm", "2bpm", "999 bpm", "44100 loop",
    "room 101", "909 120 808 beat", "96k loop", "", "_", "b-split", "Ab", "Agent 180 break 120 loop"])
def test_names_that_say_nothing(name):
    want = {"Bm": (None, "Bm"), "Em 120 em": (120, "Em")}  # these do
    assert in_name(name) == want.get(name, (None, None))


@pytest.mark.parametrize("said, key", [
    ("Am", "Am"), ("a minor", "Am"), ("A Minor", "Am"), ("F#m", "F#m"), ("Gbmaj", "Gb"), ("C", "C"), ("CM", "C"),
    ("E♭ major", "Eb"), ("fis", None), ("8A", "Am"), ("8B", "C"), ("1d", "C"), ("12m", "Dm"), ("5A", "Cm"),
    ("H", None), ("o", None), ("", None), (None, None), (7, None), (["Dm"], "Dm"), ("A moll", "Am"), ("13A", None),
    ("bb min", "Bbm")])
def test_keys(said, key):
    assert key_of(said) == key


@pytest.mark.parametrize("said, bpm", [
    ("174", 174), ("174.00", 174), ("174,5 BPM", 174.5), (90, 90), (0, None), ("0", None), ("fast", None), (True, None),
    (None, None), (float("nan"), None), (1e9, None), (["120"], 120), ("120-130", None), ({}, None)])
def test_tempos(said, bpm):
    assert bpm_of(said) == bpm


@pytest.mark.parametrize("text, name", [
    ("CC0", "CC0-1.0"), ("Creative Commons Zero v1.0 Universal", "CC0-1.0"), ("CC BY 4.0", "CC-BY-4.0"),
    ("https://creativecommons.org/licenses/by-nc-sa/3.0/", "CC-BY-NC-SA-3.0"), ("CC-BY-SA", "CC-BY-SA"),
    ("licensed under the Creative Commons Attribution 4.0 International License", "CC-BY-4.0"),
    ("Creative Commons Attribution-NonCommercial 3.0", "CC-BY-NC-3.0"), ("MIT", "MIT"), ("MIT License", "MIT"),
    ("BSD-3-Clause", "BSD-3-Clause"), ("GPL-2.0-or-later", "GPL-2.0-or-later"), ("Public Domain", "public domain"),
    ("(c) 2003 somebody. All rights reserved.", None), ("royalty free", None), ("", None),
    ("Redistribution and use in source and binary\n forms, with or without\n modification, are", "BSD-2-Clause"),
    ("Redistribution and use in source and binary forms, with or without modification ... Neither the name of",
     "BSD-3-Clause")])
def test_licences(text, name):
    assert licence_of(text) == name


def test_the_order_of_trust(tmp_path):
    """Each field from the first that says it: sidecar, tag, name."""
    path = tmp_path / "roller_170bpm_Gm.wav"
    write_wav(path, SOUND, RATE, title="of the tag", markers=Markers(bpm=174))
    assert read(path) == Labels("of the tag", 174, "Gm", None)  # the acid chunk before the name
    sidecar = path.with_suffix(".json")
    sidecar.write_text(json.dumps({"title": "of the\nsidecar", "bpm": "172", "key": "8A", "license": "CC BY 4.0"}))
    assert read(path) == Labels("of the sidecar", 172, "Am", "CC-BY-4.0")
    for text in ("", "[1]", '{"title": 7, "bpm": [], "key": {}, "licence": null}', "{" * 100_000, "\0", '"x"', "nan"):
        sidecar.write_text(text)
        assert read(path) == Labels("of the tag", 174, "Gm", None)


def test_tags_of_flac_ogg_and_mp3(tmp_path):
    for name in ("a.flac", "a.ogg"):
        with sf.SoundFile(tmp_path / name, "w", RATE, 1) as file:
            file.title, file.copyright, file.license = "Tähti", "me", "Creative Commons Zero"
            file.write(SOUND)
        assert read(tmp_path / name) == Labels(title="Tähti", licence="CC0-1.0")
    sf.write(tmp_path / "a.mp3", SOUND, RATE)

    def frame(name: bytes, text: str) -> bytes:
        body = b"\x03" + text.encode()
        return name + struct.pack(">IH", len(body), 0) + body

    frames = (frame(b"TBPM", "168") + frame(b"TKEY", "F#m") + frame(b"APIC", "x" * 120)
              + frame(b"TIT2", "title") + frame(b"TCOP", "2003 A"))
    size = bytes((len(frames) >> shift) & 0x7F for shift in (21, 14, 7, 0))
    (tmp_path / "a.mp3").write_bytes(b"ID3\x03\0\0" + size + frames + (tmp_path / "a.mp3").read_bytes())
    assert read(tmp_path / "a.mp3") == Labels("title", 168, "F#m", "2003 A")


def test_one_shots_have_no_tempo(tmp_path):
    write_wav(tmp_path / "a.wav", SOUND, RATE, markers=Markers(bpm=120, one_shot=True))
    assert read(tmp_path / "a.wav") == Labels()


def chunk(name: bytes, body: bytes, order: str = ">") -> bytes:
    return name + struct.pack(order + "I", len(body)) + body + b"\0" * (len(body) % 2)


def test_an_apple_loop(tmp_path):
    """Eight beats in 2.76 seconds, in A minor."""
    sf.write(tmp_path / "a.aif", np.zeros(121_692, np.float32), 44_100, format="AIFF")
    data = (tmp_path / "a.aif").read_bytes()
    data += chunk(b"basc", struct.pack(">IIHHHHH", 1, 8, 57, 1, 4, 4, 1) + bytes(66))
    (tmp_path / "a.aif").write_bytes(data)
    got = read(tmp_path / "a.aif")
    assert got.bpm == pytest.approx(173.95, abs=0.01) and got.key == "Am"


def test_a_chunk_behind_four_gigabytes(tmp_path):
    """RF64, with a hole for the sound."""
    size = 2**32 + 10
    acid = struct.pack("<IHHfIHHf", 0, 60, 0x8000, 0.0, 8, 4, 4, 174.0)
    head = b"RF64\xff\xff\xff\xffWAVE" + chunk(b"ds64", struct.pack("<QQQI", size + 100, size, size, 0), "<")
    with (tmp_path / "a.wav").open("wb") as file:
        file.write(head + b"data\xff\xff\xff\xff")
        file.seek(size, os.SEEK_CUR)
        file.write(chunk(b"acid", acid, "<"))
    assert read(tmp_path / "a.wav") == Labels(bpm=174)


def test_damaged_files_say_nothing_and_raise_nothing(tmp_path):
    write_wav(tmp_path / "whole.wav", SOUND, RATE, title="title", markers=Markers(bpm=174))
    sf.write(tmp_path / "whole.flac", SOUND, RATE)
    sf.write(tmp_path / "whole.ogg", SOUND, RATE)
    rng = np.random.default_rng(0)
    for whole in sorted(tmp_path.glob("whole.*")):
        data = whole.read_bytes()
        for n in range(60):
            broken = bytearray(data[: int(rng.integers(len(data)))] if n % 2 else data)
            for at in rng.integers(0, max(1, min(len(broken), 200)), 8 if len(broken) else 0):
                broken[at] = rng.integers(256)
            (tmp_path / f"x{whole.suffix}").write_bytes(broken)
            read(tmp_path / f"x{whole.suffix}")
    for data in (b"", b"RIFF", b"RIFF\0\0\0\0WAVE", b"FORM\0\0\0\0AIFF" + chunk(b"basc", b"1") + chunk(b"COMM", b"")):
        (tmp_path / "y.wav").write_bytes(data)
        assert read(tmp_path / "y.wav") == Labels()


def test_little_is_read_of_a_large_file(tmp_path, monkeypatch):
    """A gigabyte of zeros is a million empty chunks; a picture of a gigabyte is passed over."""
    taken = []
    tag_read = tags._Thrifty.read
    monkeypatch.setattr(tags._Thrifty, "read", lambda self, n=-1: taken.append(len(d := tag_read(self, n))) or d)
    for head in (b"RIFF\0\0\0\0WAVE", b"RIFF\0\0\0\0WAVEid3 \0\0\0\x3fID3\x03\0\0\x7f\x7f\x7f\x7fTIT2\x3f\0\0\0\0\0"):
        with (tmp_path / "a.wav").open("wb") as file:
            file.write(head)
            file.truncate(2**30)
        read(tmp_path / "a.wav")
        assert sum(taken) < 2 * tags.MOST_BYTES + 2**17 and len(taken) < 2 * tags.MOST_READS + 3
        taken.clear()


def test_the_licence_beside_or_above(tmp_path):
    deep = tmp_path / "pack" / "loops"
    deep.mkdir(parents=True)
    write_wav(deep / "a.wav", SOUND, RATE)
    (tmp_path / "LICENSE").write_text("MIT")
    (tmp_path / "pack" / "License.txt").write_text("All loops are in the public domain (CC0).")
    assert read(deep / "a.wav").licence is None  # beside it only
    assert read(deep / "a.wav", tmp_path / "pack").licence == "CC0-1.0"
    assert read(deep / "a.wav", tmp_path).licence == "CC0-1.0"  # the nearest
    assert read(deep / "a.wav", deep).licence is None  # not above the root
    (deep / "copyright").write_text("(c) somebody, ask before use")
    assert read(deep / "a.wav", tmp_path).licence is None  # not what holds for the folder above
    os.mkfifo(deep / "COPYING")
    (deep / "copyright").unlink()
    assert read(deep / "a.wav", deep).licence is None


def table(path: Path, text: str | bytes) -> dict[str, Row]:
    (path / "t.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return labels.read_csv(path / "t.csv", say=lambda line: pytest.fail(line))


def test_tables_as_people_write_them(tmp_path):
    want = {"a b.wav": Row("Ö", 174.5, "Am", "CC0-1.0", False, "valid", 2), "c/d.wav": Row(line=3)}
    head = "file,title,bpm,key,licence,keep,split\n"
    assert table(tmp_path, head + "a b.wav,Ö,174.5,A minor,CC0,no,valid\nc/d.wav\n") == want
    assert table(tmp_path, "\ufeffFile;Title;BPM;Key;License;Keep;Split\r\na b.wav;Ö;174,5;8A;cc0;NO;Valid\r\n"
                           "./c/d.wav;;;;;;\r\n") == want
    assert table(tmp_path, 'bpm,file\n90,"a, b.wav"\n,\n') == {"a, b.wav": Row(bpm=90, line=2)}
    assert table(tmp_path, "file,keep\na,yes\nb,0\nc,\n") == {
        "a": Row(keep=True, line=2), "b": Row(keep=False, line=3), "c": Row(line=4)}
    assert table(tmp_path, b"file,bpm\n\xff.wav,90\n") == {"\udcff.wav": Row(bpm=90, line=2)}


@pytest.mark.parametrize("text, message", [
    ("", "line 1: expected the names"), ("a.wav,174\n", "line 1: expected the names"), (b"\xff\xfef\0i\0", "line 1"),
    ("file,bpm\na,fast\n", "line 2: bpm is a number from 20 to 400, got 'fast'"),
    ("file,bpm\na,90\n\nb,0\n", "line 4: bpm"), ("file,keep\na,maybe\n", "line 2: keep is yes or no"),
    ("file,split\na,test\n", "line 2: split is train or valid"), ("file,bpm\n,90\n", "line 2: no file"),
    ("file,bpm\na,90,1\n", "line 2: 3 cells"), ("file,bpm,bpm\n", "'bpm' is there twice"),
    ("file,bpm\na,90\na,91\n", "line 3: bpm of 'a' is 91.0, but 90.0 in line 2"),
    ("file,split\na,train\na,valid\n", "line 3: split"), ('file,title\na,"x"y\n', "line 2: not a line"),
    (b"file,title\na,\xe4\n", "line 2: title is not UTF-8")])
def test_tables_that_cannot_be_used(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        table(tmp_path, text)


def test_a_table_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="No such file"):
        labels.read_csv(tmp_path / "none.csv")


def test_what_is_not_known_is_reported(tmp_path):
    (tmp_path / "t.csv").write_text("file,mood,bpm\na,dark,90\nb,,\n")
    said = []
    rows = labels.read_csv(tmp_path / "t.csv", said.append)
    assert len(said) == 1 and "say nothing here: mood" in said[0]
    assert labels.unknown(rows, {"a"}) == ["line 3 of the table names 'b', which is not there"]


def test_columns_of_drums_are_read_where_they_are_asked_for(tmp_path):
    (tmp_path / "t.csv").write_text("file,style,kind\na,funk,beat\na,jazz,\n")
    said = []
    assert labels.read_csv(tmp_path / "t.csv", said.append)["a"] == Row(line=2) and "style, kind" in said[0]
    with pytest.raises(UserError, match="style of 'a' is 'jazz', but 'funk' in line 2"):
        labels.read_csv(tmp_path / "t.csv", more=labels.DRUM_COLUMNS)


def test_a_table_has_the_last_word():
    assert Row(bpm=90, keep=True).over(Labels("t", 180, "Am")) == Labels("t", 90, "Am")


SLICES = [
    {"source": "a.wav", "at": [0.0, 1.5], "split": "train", "title": "=1+1", "bpm": 173.9, "said_bpm": 174.0,
     "key": "Am", "bar_seconds": 1.3793, "licence": "CC0-1.0", "group": 3, "flags": ["clipped", "odd"],
     "file_sha256": "0" * 64},
    {"source": "a.wav", "at": [1.5, 3.0], "split": "train", "title": "=1+1", "bpm": 174.1, "said_bpm": 174.0,
     "key": "Am", "licence": "CC0-1.0"},
    {"source": "a.wav+1", "at": [0.0, 1.5], "split": "train", "title": "=1+1", "bpm": 160.0, "key": "Gm",
     "licence": "CC0-1.0", "variant": {"of": "a.wav"}},
    {"source": "-b, \udcff\n;.wav ", "at": [0, 2], "split": "train", "bpm": 87.0, "confidence": 0.5},
    {"source": "-b, \udcff\n;.wav ", "at": [2, 3], "split": "valid", "bpm": 87.0, "confidence": 0.5}]


def test_what_was_written_can_be_given_back(tmp_path):
    path = tmp_path / "labels.csv"
    labels.write_csv(path, iter(SLICES))
    first = path.read_text("utf-8", "surrogateescape").splitlines()[:2]
    assert first == ["file,title,bpm,key,licence,keep,split,start,end,slice_bpm,bar_seconds,confidence,gain_db,flags,"
                     "group,variant,file_sha256",
                     "a.wav,'=1+1,174,Am,CC0-1.0,,train,0,1.5,173.9,1.379,,,clipped; odd,3,," + "0" * 64]
    said = []
    rows = labels.read_csv(path, said.append)
    assert len(said) == 1 and "is train and then valid" in said[0]  # beside another file that may be a mistake
    assert rows == {"a.wav": Row("=1+1", 174, "Am", "CC0-1.0", None, "train", 2), SLICES[3]["source"]: Row(line=5)}
    stamp = path.stat().st_mtime_ns
    labels.write_csv(path, iter(SLICES))
    assert path.stat().st_mtime_ns == stamp
    text = path.read_bytes()
    path.write_bytes(text.replace(b"Am,CC0-1.0,,train,1.5", b"Am,CC0-1.0,no,train,1.5"))
    assert labels.read_csv(path)["a.wav"].keep is False  # one is enough
    path.write_bytes(text.replace(b"174,", b"170,", 1))
    with pytest.raises(UserError, match="line 3: bpm of 'a.wav' is 174.0, but 170.0 in line 2"):
        labels.read_csv(path)


def test_a_table_that_fails_half_way_leaves_the_old_one(tmp_path):
    labels.write_csv(tmp_path / "t.csv", SLICES[:1])
    before = (tmp_path / "t.csv").read_bytes()
    with pytest.raises(ZeroDivisionError):
        labels.write_csv(tmp_path / "t.csv", (SLICES[0] if n else 1 / 0 for n in (1, 0)))
    assert (tmp_path / "t.csv").read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["t.csv"]


def splits_of(path: Path, lines: str):
    """A table of ours with a slice a word: file and split."""
    return table(path, "file,split,start\n" + "".join(f"{word[0]},{word[2:]},{n}\n"
                                                       for n, word in enumerate(lines.split())))


def test_the_side_of_a_file_with_many_slices(tmp_path):
    for lines in ("a:train a:train", "a:valid a:valid", "a: a:valid a:", "a:train b:valid a: b:valid"):
        rows = splits_of(tmp_path, lines)
        assert {name: row.split for name, row in rows.items()} == {
            word[0]: word[2:] for word in lines.split() if word[2:]}
    assert splits_of(tmp_path, "a:train a:train a:valid") == {"a": Row(line=2)}  # as of the only file
    for lines, message in (("a:valid a:train", "line 3 says train, line 2 valid: 'a' lies in one split; change all"),
                           ("a:train a:valid a:train", "line 3 says valid, line 2 train: 'a' lies in one split"),
                           ("b:train a:valid a:valid a:train", "line 5 says train, line 3 valid: 'a' lies"),
                           ("a:train a:valid b:train b:valid", "line 3 says valid, line 2 train: 'a' lies")):
        with pytest.raises(UserError, match=message):
            splits_of(tmp_path, lines)


@pytest.mark.parametrize("there", ["caf\u00e9/br\u00fc ck.wav", "cafe\u0301/bru\u0308 ck.wav"])
@pytest.mark.parametrize("said", ["caf\u00e9/br\u00fc ck.wav", "cafe\u0301/bru\u0308 ck.wav",
                                  "caf\u00e9\\br\u00fc ck.wav",
                                  "./caf\u00e9/br\u00fc ck.wav", ".\\cafe\u0301\\bru\u0308 ck.wav"])
def test_a_table_fits_files_however_their_names_are_written(there, said, tmp_path):
    (tmp_path / "x.csv").write_text(f'file,bpm\n"{said}",174\n', encoding="utf-8")
    rows = labels.matched(labels.read_csv(tmp_path / "x.csv"), {there: None})
    assert list(rows) == [there] and rows[there].bpm == 174 and not labels.unknown(rows, {there: None})


def test_a_name_that_fits_two_files_stays_as_it_is():
    """On Linux both spellings, and a backslash, may be names of files of their own."""
    both, one, other = ["caf\u00e9.wav", "cafe\u0301.wav"], Row(bpm=100.0, line=2), Row(bpm=120.0, line=3)
    assert labels.matched({both[0]: one, both[1]: other}, both) == {both[0]: one, both[1]: other}
    assert labels.matched({both[0]: one}, both) == {both[0]: one}
    assert labels.matched({"a\\b.wav": one, "a/b.wav": other}, ["a/b.wav"]) == {"a\\b.wav": one, "a/b.wav": other}
    assert labels.matched({"./" + both[0]: one}, both) == {"./" + both[0]: one}
