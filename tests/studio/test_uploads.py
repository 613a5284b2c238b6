"""What is dropped on the studio: how much, how many, and what is in a ZIP."""

from __future__ import annotations

import io
import struct
import zipfile

import pytest

from audiocraft_ext.studio import uploads
from tests.studio.conftest import refused


def put(client, name: str, content, folder: str = "mine", **headers):
    return client.put("/api/upload", params={"folder": folder, "name": name}, content=content, headers=headers)


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def below(workspace) -> list[str]:
    return sorted(path.relative_to(workspace.root).as_posix() for path in workspace.root.rglob("*") if path.is_file())


def test_a_file_lies_where_it_was_said_to(client, workspace):
    assert put(client, "kicks/a b.wav", b"sound").json() == {"files": 1, "source": "sounds/mine"}
    assert below(workspace) == ["sounds/mine/kicks/a b.wav"]
    assert put(client, "kicks/a b.wav", b"sound").status_code == 200  # the same once more
    refused(put(client, "kicks/a b.wav", b"other"), "already")
    assert (workspace.root / "sounds/mine/kicks/a b.wav").read_bytes() == b"sound"


@pytest.mark.parametrize("name", ["a.exe", "a.html", "a.pkl", "checkpoint.th", "a", "a.wav/"])
def test_only_sound_and_midi(client, workspace, name):
    if name == "a.wav/":
        assert put(client, name, b"x").status_code == 200  # the slash says nothing
    else:
        refused(put(client, name, b"x"), "expected sound, MIDI")
        assert below(workspace) == []


def test_two_gigabytes_announced(client, workspace):
    refused(put(client, "a.wav", b"x", **{"content-length": str(2 << 30)}), "1024 MiB")
    assert below(workspace) == []


def test_two_gigabytes_that_come_without_a_word(client, workspace, monkeypatch):
    """The limit is made small, for the test's sake; more than it must not be read."""
    monkeypatch.setattr(uploads, "MOST_BYTES", 1 << 20)
    monkeypatch.setattr(uploads.Bound.__init__, "__defaults__", (1 << 20,))
    sent = 0

    def endless():
        nonlocal sent
        for _ in range(2048):
            sent += 1 << 20
            yield b"\0" * (1 << 20)

    refused(put(client, "a.wav", endless()), "is larger than 1 MiB")
    assert below(workspace) == []


def test_the_disk_is_not_filled(client, workspace, monkeypatch):
    monkeypatch.setattr(uploads, "LEFT_FREE", 1 << 60)
    refused(put(client, "a.wav", b"x"), "of the disk stay free")
    assert below(workspace) == []


def test_not_too_many(client, workspace, monkeypatch):
    monkeypatch.setattr(uploads, "MOST_FILES", 2)
    for name in ("a.wav", "b.wav"):
        assert put(client, name, b"x").status_code == 200
    refused(put(client, "c.wav", b"x"), "holds 2 files")
    refused(put(client, "d.zip", zipped({f"{n}.wav": b"x" for n in range(3)}), folder="other"), "holds 3 files")


def test_a_zip_of_sound(client, workspace):
    data = zipped({"pack/kick.wav": b"k", "pack/snare.WAV": b"s", "pack/readme.pdf": b"p", "__MACOSX/._kick.wav": b"m",
                   "pack/.DS_Store": b"d"})
    assert put(client, "pack.zip", data).json()["files"] == 2
    assert below(workspace) == ["sounds/mine/pack/pack/kick.wav", "sounds/mine/pack/pack/snare.WAV"]
    refused(put(client, "pack.zip", data), "already")


def test_a_zip_bomb(client, workspace):
    refused(put(client, "bomb.zip", zipped({"a.wav": b"\0" * (200 << 20)})), "looks like a bomb")
    assert below(workspace) == []


def test_a_zip_bomb_that_lies_about_its_size(client, workspace, monkeypatch):
    """Its list says a byte for each file; what comes out is counted."""
    data = bytearray(zipped({"a.wav": b"\0" * (120 << 20)}))
    for mark, place in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = data.index(mark) + place
        data[at : at + 4] = struct.pack("<I", 1)
    refused(put(client, "liar.zip", bytes(data)))
    assert below(workspace) == []


@pytest.mark.parametrize("name", ["../../evil.wav", "/evil.wav", "a/../../../evil.wav", "..\\..\\evil.wav",
                                  "C:/evil.wav"])
def test_a_zip_whose_names_lead_out(client, workspace, name):
    refused(put(client, "slip.zip", zipped({"good.wav": b"g", name: b"e"})), "leads out")
    assert below(workspace) == [] and not (workspace.root.parent / "evil.wav").exists()


@pytest.mark.parametrize("data", [b"", b"PK", b"PK\x03\x04" + b"x" * 100, zipped({"a.txt.exe": b"x"})])
def test_a_zip_that_is_none(client, workspace, data):
    refused(put(client, "a.zip", data))
    assert below(workspace) == []


def test_a_zip_with_a_link_in_it(client, workspace):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        info = zipfile.ZipInfo("link.wav")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    assert put(client, "link.zip", out.getvalue()).status_code == 200
    (made,) = (workspace.root / "sounds/mine/link").iterdir()
    assert not made.is_symlink() and made.read_bytes() == b"/etc/passwd"  # the text of it, no link
