"""Sketches as files: BeepBox's JSON, a text file with the URL, MIDI, on request a piano roll and a WAV; and a JSON
sidecar from which a sketch can be made again.

Nothing is overwritten. A name that another file has gets a number. A sketch that is there already, by its sidecar, with
all that is asked for stays as it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from audiocraft_ext.core import sidecar
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.files import numbered, plain, write_all
from audiocraft_ext.core.sidecar import Sidecar
from audiocraft_ext.midi.written import Written
from audiocraft_ext.songs import to_midi
from audiocraft_ext.songs.beepbox import as_json, url_write
from audiocraft_ext.songs.codec.voices import NAME, codec_of
from audiocraft_ext.songs.play.recipe import SongRecipe
from audiocraft_ext.songs.play.sketch import Sketch

FORMAT, VERSION = "micro-musicgen song", 1
SONG, URL = ".beepbox.json", ".url.txt"  # ends of names


@dataclass(frozen=True)
class Output(Written):
    """How a sketch is written, besides its JSON, URL, MIDI file and sidecar."""

    OF = "sketch"


def read_sidecar(path: Path | str) -> Sidecar:
    """Read a sketch's sidecar.

    Raises:
        UserError: it is none, of another version, not whole, or was changed.
    """
    known = sidecar.read(path, "sketch", "BeepBox's", FORMAT, VERSION)
    Output.from_dict(known.output)
    return known


def read(path: Path | str) -> Sketch:
    """A sketch that was saved, by its BeepBox's JSON or its sidecar.

    Raises:
        UserError: it is none.
    """
    path = Path(path)
    known = read_sidecar(path.with_name(f"{stem_of(path)}.json"))
    song = codec_of({"type": NAME}).decode(known.codes, SongRecipe.from_dict(known.recipe).facts)
    return Sketch(known.codes, song, known.index, known.recipe, known.about)


def stem_of(path: Path) -> str:
    """What the names of all files of a sketch begin with."""
    return path.name.removesuffix(SONG).removesuffix(".json")


def there(folder: Path, recipe: dict[str, Any], index: int, output: Output, title: str = "") -> Path | None:
    """The song's JSON of a sketch that is in ``folder`` already, with all that is asked for; None where it is not."""
    return sidecar.there(folder, _stems(recipe, index, title),
                         lambda stem: _complete(folder, stem, recipe, index, output))


def save(sketch: Sketch, folder: Path | str = ".", output: Output = Output()) -> list[Path]:  # noqa: B008  (it is frozen)
    """Write a sketch; returns its files, BeepBox's JSON first and the sidecar last.

    Raises:
        UserError: one cannot be written; then none of them is there.
    """
    folder = Path(folder)
    return sidecar.save(folder, _stems(sketch.recipe, sketch.index, sketch.about.get("title", "")),
                        lambda stem: _complete(folder, stem, sketch.recipe, sketch.index, output),
                        lambda stem: _write(folder, stem, sketch, output))


def _stems(recipe: dict[str, Any], index: int, title: str) -> Iterator[str]:
    words = [recipe.get("bundle", "song"), title, f"seed{recipe.get('seed', 0)}", index, f"{recipe['bpm']}bpm"]
    return numbered("_".join(plain(word) for word in words if word != ""))


def _complete(folder: Path, stem: str, recipe: dict[str, Any], index: int, output: Output) -> tuple[str, ...]:
    """The files of this sketch under this name, where all that are asked for are there, else none."""
    try:
        known = read_sidecar(folder / f"{stem}.json")
    except UserError:
        return ()
    enough = Output.from_dict(known.output).has(output)
    same = sidecar.identity(known.recipe, known.index) == sidecar.identity(recipe, index)
    return known.files if same and enough and all((folder / name).is_file() for name in known.files) else ()


def _write(folder: Path, stem: str, sketch: Sketch, output: Output) -> list[str]:
    """Write all files under a name; returns the names of those but the sidecar."""
    song = sketch.song
    data = as_json.to_text(song).encode()
    files: dict[str, Callable[[Path], object]] = {
        f"{stem}{SONG}": partial(_bytes, data),
        f"{stem}{URL}": partial(_bytes, url_write.to_url(song).encode() + b"\n"),
        f"{stem}.mid": partial(_bytes, to_midi.to_bytes(song))}
    if output.sounds:
        files[f"{stem}.wav"] = partial(output.sound, to_midi.to_midi(song), title=stem,
                                       comment=f"sketch {sidecar.identity(sketch.recipe, sketch.index)}")
    if output.picture:
        from audiocraft_ext.songs.play.roll import roll

        files[f"{stem}.png"] = partial(roll, sketch)
    known = Sidecar(sketch.recipe, sketch.index, sketch.codes, hashlib.sha256(data).hexdigest(), output.to_dict(),
                    tuple(files), sketch.about)
    text = sidecar.text("sketch", known, format=FORMAT, version=VERSION, kind="song", bpm=song.tempo, beats=song.beats,
                        bars=song.bars, seconds=round(song.seconds, 6), notes=to_midi.notes_of(song))
    write_all(folder, files | {f"{stem}.json": partial(_bytes, text.encode())})
    return list(files)


def _bytes(data: bytes, path: Path) -> None:
    path.write_bytes(data)
