"""Pieces as files: MIDI, on request a file a part, a piano roll and a WAV; and a JSON sidecar from
which a piece can be made again.

Nothing is overwritten. A name that another file has gets a number. A piece that is there already, by its JSON, with all
that is asked for stays as it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from audiocraft_ext.core import sidecar
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.files import numbered, plain, write_all
from audiocraft_ext.core.sidecar import Sidecar
from audiocraft_ext.midi.written import Written
from audiocraft_ext.notes import midi
from audiocraft_ext.notes.codec import score as scores
from audiocraft_ext.notes.codec.multitrack import Multitrack
from audiocraft_ext.notes.codec.score import Score
from audiocraft_ext.notes.play.piece import Piece
from audiocraft_ext.notes.play.recipe import PieceRecipe

FORMAT, VERSION = "micro-musicgen piece", 1


@dataclass(frozen=True)
class Output(Written):
    """How a piece is written, besides its MIDI file and its JSON.

    Attributes:
        tracks: each part as a file of its own, ``NAME_drums.mid``.
    """

    tracks: bool = False

    OF = "piece"


def read_sidecar(path: Path | str) -> Sidecar:
    """Read a piece's JSON.

    Raises:
        UserError: it is none, of another version, not whole, or was changed.
    """
    known = sidecar.read(path, "piece", "a MIDI file", FORMAT, VERSION)
    try:
        Output.from_dict(known.output)
    except UserError as error:
        raise UserError(f"{path}: not a whole piece's JSON ({error})") from None
    return known


def there(folder: Path, recipe: dict[str, Any], index: int, output: Output, title: str = "") -> Path | None:
    """The MIDI file of a piece that is in ``folder`` already, with all that is asked for; None where it is not."""
    return sidecar.there(folder, _stems(recipe, index, title),
                         lambda stem: _complete(folder, stem, recipe, index, output))


def save(piece: Piece, folder: Path | str = ".", output: Output = Output()) -> list[Path]:  # noqa: B008  (it is frozen)
    """Write a piece; returns its files, the MIDI file first and the JSON last.

    Raises:
        UserError: one cannot be written; then none of them is there.
    """
    folder = Path(folder)
    return sidecar.save(folder, _stems(piece.recipe, piece.index, piece.about.get("title", "")),
                        lambda stem: _complete(folder, stem, piece.recipe, piece.index, output),
                        lambda stem: _write(folder, stem, piece, output))


def read(path: Path | str, codec: Multitrack) -> Piece:
    """A piece that was saved, by its MIDI file or its JSON.

    Raises:
        UserError: it is none.
    """
    known = read_sidecar(Path(path).with_suffix(".json"))
    recipe = PieceRecipe.from_dict(known.recipe)
    return Piece(known.codes, codec.decode(known.codes, recipe.bpm, recipe.meter), known.index, known.recipe,
                 known.about)


def parts(score: Score) -> dict[str, Score]:
    """Each part by its name as part of a file's, as long as the whole."""
    return {plain(midi.name_of(part)): replace(score, notes=score.notes[score.notes[:, scores.INSTRUMENT]
                                                                               == part])
            for part in sorted(midi.parts_of(score))}


def _stems(recipe: dict[str, Any], index: int, title: str) -> Iterator[str]:
    words = [recipe.get("bundle", "notes"), title, f"seed{recipe.get('seed', 0)}", str(index),
             f"{recipe['bpm']:.4g}bpm"]
    return numbered("_".join(plain(word) for word in words if word))


def _complete(folder: Path, stem: str, recipe: dict[str, Any], index: int, output: Output) -> tuple[str, ...]:
    """The files of this piece under this name, where all that are asked for are there, else none."""
    try:
        known = read_sidecar(folder / f"{stem}.json")
    except UserError:
        return ()
    enough = Output.from_dict(known.output).has(output)
    same = sidecar.identity(known.recipe, known.index) == sidecar.identity(recipe, index)
    return known.files if same and enough and all((folder / name).is_file() for name in known.files) else ()


def _write(folder: Path, stem: str, piece: Piece, output: Output) -> list[str]:
    """Write all files to temporary ones, then give them their names, the JSON last; returns the names of the others.

    Raises:
        UserError: one cannot be written; then none of them is there.
        FileExistsError: another file has one of the names.
    """
    data = midi.to_bytes(piece.score)
    files = _files(piece, data, stem, output)
    known = Sidecar(piece.recipe, piece.index, piece.codes, hashlib.sha256(data).hexdigest(), output.to_dict(),
                    tuple(files), piece.about)
    text = sidecar.text("piece", known, format=FORMAT, version=VERSION, kind="notes", bpm=piece.score.bpm,
                        meter=list(piece.score.meter), bars=piece.score.bars, seconds=round(piece.score.seconds, 6),
                        notes=len(piece.score))
    files[f"{stem}.json"] = partial(_text, text)
    write_all(folder, files)
    return list(files)[:-1]


def _files(piece: Piece, data: bytes, stem: str, output: Output) -> dict[str, Callable[[Path], object]]:
    """What writes each file, the MIDI file first."""
    files: dict[str, Callable[[Path], object]] = {f"{stem}.mid": partial(_bytes, data)}
    if output.tracks:
        files |= {f"{stem}_{name}.mid": partial(_bytes, midi.to_bytes(part))
                  for name, part in parts(piece.score).items()}
    if output.sounds:
        files[f"{stem}.wav"] = partial(output.sound, midi.to_midi(piece.score)[0], title=stem,
                                       comment=f"piece {sidecar.identity(piece.recipe, piece.index)}")
    if output.picture:
        from audiocraft_ext.notes.play.roll import roll

        files[f"{stem}.png"] = partial(roll, piece)
    return files


def _bytes(data: bytes, path: Path) -> None:
    path.write_bytes(data)


def _text(text: str, path: Path) -> None:
    path.write_text(text, "utf-8")
