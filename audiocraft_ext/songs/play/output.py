"""Sketches as files: BeepBox's JSON, a text file with the URL, MIDI, a piano roll; and a JSON sidecar from which a
sketch can be made again.

Nothing is overwritten. A name that another file has gets a number. A sketch that is there already, by its sidecar, with
all that is asked for stays as it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from audiocraft_ext.core import sidecar
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.files import numbered, plain, write_all
from audiocraft_ext.core.sidecar import Sidecar
from audiocraft_ext.songs import to_midi
from audiocraft_ext.songs.beepbox import as_json, url_write
from audiocraft_ext.songs.beepbox.song import PARTS, Song
from audiocraft_ext.songs.play.sketch import Sketch

FORMAT, VERSION = "micro-musicgen song", 1
SONG, URL = ".beepbox.json", ".url.txt"  # ends of names


@dataclass(frozen=True)
class Output:
    """How a sketch is written, besides its JSON, URL, MIDI file and sidecar.

    Attributes:
        picture: as a piano roll, ``NAME.png``.
    """

    picture: bool = False

    def check(self) -> None:
        """Raise a :class:`UserError` for what cannot be, before a sketch is made."""
        if self.picture:
            from audiocraft_ext.midi import roll

            roll.check()

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Output:
        """Of a sidecar.

        Raises:
            UserError: an unknown option, or a value of another type.
        """
        if set(values) != {"picture"} or not isinstance(values["picture"], bool):
            raise UserError(f"not how a sketch was written: {values}")
        return cls(**values)


def read_sidecar(path: Path | str) -> Sidecar:
    """Read a sketch's sidecar.

    Raises:
        UserError: it is none, of another version, not whole, or was changed.
    """
    known = sidecar.read(path, "sketch", "BeepBox's", FORMAT, VERSION)
    Output.from_dict(known.output)
    return known


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
    enough = known.output["picture"] >= output.picture
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
    if output.picture:
        files[f"{stem}.png"] = partial(_roll, sketch)
    known = Sidecar(sketch.recipe, sketch.index, sketch.codes, hashlib.sha256(data).hexdigest(), asdict(output),
                    tuple(files), sketch.about)
    text = sidecar.text("sketch", known, format=FORMAT, version=VERSION, kind="song", bpm=song.tempo, beats=song.beats,
                        bars=song.bars, seconds=round(song.seconds, 6), notes=notes_of(song))
    write_all(folder, files | {f"{stem}.json": partial(_bytes, text.encode())})
    return list(files)


def notes_of(song: Song) -> int:
    """How many pitches are played, what is tied over a bar line once."""
    return sum(len(note.pitches) for channel in song.channels
               for _, _, note in to_midi.sounding(channel, song.bars, song.parts))


def _bytes(data: bytes, path: Path) -> None:
    path.write_bytes(data)


def _roll(sketch: Sketch, path: Path) -> None:
    from audiocraft_ext.midi.roll import Roll, draw

    song, recipe = sketch.song, sketch.recipe
    midi = to_midi.to_midi(song)
    rows = midi.notes
    notes = np.stack([rows["start"], rows["end"] - rows["start"], rows["track"], rows["pitch"], rows["velocity"]], 1)
    names = {track: name for track, name in midi.names.items() if (rows["track"] == track).any()}
    drums = [i for i, channel in enumerate(song.channels, 1) if channel.noise]
    title = [str(recipe.get("bundle", "")), f"{song.tempo} BPM", f"{song.beats} beats in {song.rhythm}",
             f"{song.bars} bars", f"{notes_of(song)} notes", f"seed {recipe.get('seed', 0)}", f"sketch {sketch.index}"]
    draw(path, Roll(notes, names, drums, song.parts * to_midi.PART, song.bars, PARTS * to_midi.PART // 8,
                    " · ".join(title)))
