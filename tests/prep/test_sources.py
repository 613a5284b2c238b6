"""Files are found in any folder: links, circles, names of any bytes, what may not be read, ten thousand of them."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.sound import files as sound_files
from data_prep.audio.chain import AUDIO
from data_prep.shared import sources

POSIX = pytest.mark.skipif(os.name != "posix", reason="POSIX file names")


def make(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def found(root: Path, skipped: dict | None = None) -> list[str]:
    return [source.name for source in sources.walk(root, {} if skipped is None else skipped, AUDIO)]


def test_sound_by_its_ending_in_a_fixed_order(tmp_path):
    make(tmp_path, "b.WAV", "a.Mp3", "z/y/1.flac", "z/2.ogg", "c/3.aif", "text.txt", "none", ".hidden.wav",
         ".folder/4.wav", "c/.wav", "c/._3.aif")
    want = ["a.Mp3", "b.WAV", "c/3.aif", "z/2.ogg", "z/y/1.flac"]
    assert found(tmp_path) == want == found(tmp_path)
    for source in sources.walk(tmp_path, {}, AUDIO):
        about = (tmp_path / source.name).stat()
        assert (source.path, source.size, source.mtime_ns) == (tmp_path / source.name, about.st_size, about.st_mtime_ns)
    assert [p.relative_to(tmp_path).as_posix() for p in sound_files.find_audio(tmp_path)] == want


def test_links_are_followed_once_and_never_in_circles(tmp_path):
    src, far = make(tmp_path / "src", "z/1.wav", "2.wav"), make(tmp_path / "far", "3.wav")
    (far / "back").symlink_to(src)
    (far / "itself.wav").symlink_to(far / "itself.wav")
    for link, target in (("link", far), ("again", far), ("up", tmp_path), ("self", src), ("a", src / "z"),
                         ("broken.wav", tmp_path / "none"), ("file.wav", far / "3.wav")):
        (src / link).symlink_to(target)
    skipped = {}
    assert found(src, skipped) == ["2.wav", "file.wav", "z/1.wav", "again/3.wav"]
    assert set(skipped) == {"broken.wav", "again/itself.wav"} and "No such file" in skipped["broken.wav"]


@POSIX
def test_names_in_any_script_and_any_bytes(tmp_path):
    names = ["ジャングル.wav", "Ωμέγα/дека.flac", unicodedata.normalize("NFC", "é.wav"),
             unicodedata.normalize("NFD", "é.wav"), "new\nline.wav", "-rf *.wav", "concat:a|b.wav", "🥁 'x\".wav"]
    make(tmp_path, *names)
    odd = b"\xff\xfe latin \xe9.wav"
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + odd)).write_bytes(b"x")
        names.append(os.fsdecode(odd))
    except OSError:  # a file system that wants UTF-8
        pass
    assert sorted(found(tmp_path)) == sorted(names)


@POSIX
def test_what_cannot_be_looked_at_is_reported(tmp_path, monkeypatch):
    make(tmp_path, "a.wav", "locked/b.wav", "locked/deep/c.wav", "z.wav")
    os.mkfifo(tmp_path / "pipe.wav")
    real = os.scandir

    def scandir(folder):  # chmod would not do for a superuser
        if Path(folder).name == "locked":
            raise PermissionError(13, "Permission denied")
        return real(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    skipped = {}
    assert found(tmp_path, skipped) == ["a.wav", "z.wav"]
    assert skipped == {"locked/": "Permission denied", "pipe.wav": "not a file but a pipe, a socket or a device"}
    assert found(tmp_path) == ["a.wav", "z.wav"]
    with pytest.raises(UserError, match="locked: Permission denied"):
        found(tmp_path / "locked")


def test_a_folder_without_sound_or_none_at_all(tmp_path, capsys):
    make(tmp_path, "one/x.rx2", "one/y.RX2", "one/notes.txt", "two/a.wav", "two/b.rx2")
    with pytest.raises(UserError, match="no such folder"):
        sources.walk(tmp_path / "none", {}, AUDIO)  # at once, not when it is gone through
    with pytest.raises(UserError, match=r"a\.wav: is a file; expected a folder"):
        sources.walk(tmp_path / "two" / "a.wav", {}, AUDIO)
    with pytest.raises(UserError, match=r"no audio in it.*, found \.rx2 \(2\)"):
        found(tmp_path / "one")
    assert found(tmp_path / "two") == ["a.wav"]
    assert capsys.readouterr().err == "passed over 1 files whose ending is not that of sound: .rx2 (1)\n"


def test_ten_thousand_files_are_taken_as_they_are_found(tmp_path):
    """The first one comes before the later folders were looked into."""
    for folder in range(100):
        (tmp_path / f"{folder:02}").mkdir()
        for n in range(100):
            os.close(os.open(tmp_path / f"{folder:02}" / f"{n:02}.wav", os.O_CREAT))
    walk = sources.walk(tmp_path, {}, AUDIO)
    assert next(walk).name == "00/00.wav"
    (tmp_path / "99" / "99.wav").unlink()
    rest = [source.name for source in walk]
    assert len(rest) == 9998 and rest == sorted(rest)
