"""Fetching the Groove MIDI Dataset, from a server on this machine: whole, in parts, wrong, and not at all."""

import csv
import hashlib
import http.server
import io
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest

from audiocraft_ext.core.errors import UserError
from data_prep.midi import fetch as midi_fetch

GROOVE = sorted((Path(__file__).parents[2] / "data" / "groove").glob("*.mid"))
INFO = "midi_filename,style,split\n" + "".join(f"drummer1/{path.name},rock,{split}\n" for path, split in zip(
    GROOVE[:3], ("train", "validation", "test")))


def archive(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, data in files.items():
            zipped.writestr(name, data)
    return out.getvalue()


FILES = {"groove/info.csv": INFO.encode(), "groove/LICENSE": b"CC BY 4.0",
         **{f"groove/drummer1/{path.name}": path.read_bytes() for path in GROOVE[:3]}}


class Server(http.server.BaseHTTPRequestHandler):
    data = b""
    asked: list = []
    breaks = 0  # bytes after which the first answers end
    ranges = True

    def do_GET(self):
        Server.asked.append(self.headers.get("Range"))
        start = int(self.headers["Range"][6:-1]) if Server.ranges and "Range" in self.headers else 0
        if self.path != "/groove.zip" or start >= len(Server.data):
            self.send_error(404 if self.path != "/groove.zip" else 416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(Server.data) - start))
        self.end_headers()
        self.wfile.write(Server.data[start : start + Server.breaks] if Server.breaks else Server.data[start:])

    def log_message(self, *args):
        pass


@pytest.fixture
def home(monkeypatch):
    """The address of a server of an archive."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    serve(monkeypatch, archive(FILES))
    monkeypatch.setattr(Server, "breaks", 0)
    monkeypatch.setattr(Server, "ranges", True)
    yield f"http://127.0.0.1:{server.server_address[1]}/groove.zip"
    server.shutdown()
    server.server_close()


def serve(monkeypatch, data: bytes) -> None:
    monkeypatch.setattr(Server, "data", data)
    monkeypatch.setattr(Server, "asked", [])
    monkeypatch.setattr(midi_fetch, "SHA256", hashlib.sha256(data).hexdigest())


def test_all_of_it_lies_in_the_folder(home, tmp_path, capsys):
    folder = tmp_path / "new" / "groove"
    midi_fetch.main([str(folder), "--from", home])
    for name, data in FILES.items():
        assert (folder / name.removeprefix("groove/")).read_bytes() == data
    assert [path.name for path in folder.parent.iterdir()] == ["groove"], "nothing is left beside it"
    said = capsys.readouterr().out
    assert "5 files" in said and "CC BY 4.0" in said
    with (folder / "split.csv").open() as file:
        splits = [(row["keep"], row["split"]) for row in csv.DictReader(file)]
    assert splits == [("", "train"), ("", "valid"), ("no", "")]
    midi_fetch.main([str(folder), "--from", home])
    assert "is there already" in capsys.readouterr().out and len(Server.asked) == 1


@pytest.mark.parametrize("ranges", [True, False])
def test_what_broke_off_goes_on(home, tmp_path, monkeypatch, ranges):
    monkeypatch.setattr(Server, "breaks", 1000)
    with pytest.raises(UserError, match=r"broke off [\d,]+ bytes too early; the same command goes on"):
        midi_fetch.main([str(tmp_path / "g"), "--from", home])
    assert not (tmp_path / "g").exists() and (tmp_path / "g.zip.part").stat().st_size == 1000
    monkeypatch.setattr(Server, "breaks", 0)
    monkeypatch.setattr(Server, "ranges", ranges)
    midi_fetch.main([str(tmp_path / "g"), "--from", home])
    assert Server.asked == [None, "bytes=1000-"] and (tmp_path / "g" / "info.csv").is_file()
    assert not (tmp_path / "g.zip.part").exists()


def test_a_part_that_is_whole_already(home, tmp_path):
    (tmp_path / "g.zip.part").write_bytes(Server.data)
    midi_fetch.main([str(tmp_path / "g"), "--from", home])
    assert (tmp_path / "g" / "info.csv").is_file()


def test_another_file_is_refused_and_fetched_anew(home, tmp_path, monkeypatch):
    monkeypatch.setattr(midi_fetch, "SHA256", "0" * 64)
    with pytest.raises(UserError, match="not the archive that was asked for, its SHA-256"):
        midi_fetch.main([str(tmp_path / "g"), "--from", home])
    assert list(tmp_path.iterdir()) == []


def link() -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("groove/link")
    info.external_attr = 0o120777 << 16
    return info


@pytest.mark.parametrize("name", ["groove/../../x", "/x", "groove\\..\\x", "C:/x", link()], ids=str)
def test_nothing_is_unpacked_outside(name, tmp_path, monkeypatch):
    data = archive(FILES | {name: b"x"})
    serve(monkeypatch, data)
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(UserError, match="leads out of it"):
        midi_fetch.main([str(tmp_path / "g"), "--from", str(tmp_path / "a.zip")])
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


@pytest.mark.parametrize("data, said", [
    (b"no zip", "not an archive"), (archive({}), "expected an archive of 1"), (archive({"x": bytes(2000)}), "up to"),
    (archive(FILES)[:-9], "not an archive")])
def test_archives_that_are_none(data, said, tmp_path, monkeypatch):
    serve(monkeypatch, data)
    monkeypatch.setattr(midi_fetch, "MOST_BYTES", 1000 if len(data) < 500 else 2**20)
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(UserError, match=said):
        midi_fetch.main([str(tmp_path / "g"), "--from", str(tmp_path / "a.zip")])
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_what_is_there_is_not_touched(home, tmp_path):
    (tmp_path / "mine.mid").write_bytes(b"x")
    with pytest.raises(UserError, match="holds something else; name a new folder"):
        midi_fetch.main([str(tmp_path), "--from", home])
    assert [path.name for path in tmp_path.iterdir()] == ["mine.mid"] and not Server.asked


def test_without_a_network_it_is_one_line(home, tmp_path):
    with pytest.raises(UserError, match=r"could not be fetched \(404 Not Found\)"):
        midi_fetch.main([str(tmp_path / "g"), "--from", home + "x"])
    with pytest.raises(UserError, match="there is no file nothing.zip"):
        midi_fetch.main([str(tmp_path / "g"), "--from", "nothing.zip"])
    done = subprocess.run([sys.executable, "-m", "data_prep.midi_fetch", tmp_path / "g", "--from", "http://127.0.0.1:9/"],
                          capture_output=True, text=True, cwd=Path(__file__).parents[3],
                          env={"PATH": "/usr/bin:/bin", "NO_PROXY": "*"})
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "Connection refused" in done.stderr
    assert list(tmp_path.iterdir()) == []
