"""Beats as files: MIDI, on request a file a track, a WAV and a picture; and a JSON sidecar with the recipe.

Nothing is overwritten. A name that another file has gets a number. A beat that is there already, by its JSON, stays as
it is; where more files of it are asked for than there are, the missing ones are added.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.files import numbered, plain, write_all
from audiocraft_ext.drums import midi as midi_drums
from audiocraft_ext.drums.codec.base import DrumCodec
from audiocraft_ext.drums.codec.clip import DrumClip
from audiocraft_ext.drums.play import sidecar
from audiocraft_ext.drums.play.beat import Beat
from audiocraft_ext.drums.play.recipe import BeatRecipe
from audiocraft_ext.drums.play.sidecar import Output, Sidecar
from audiocraft_ext.drums.play.sidecar import read as read_sidecar

__all__ = ["Output", "Place", "place", "read_sidecar", "save", "tracks"]
LONG = 400  # characters of a text that a WAV's comment leaves to the JSON


class Place(NamedTuple):
    """A beat's MIDI file, next to which the others go, and whether all files that are asked for are there."""

    path: Path
    there: bool


def place(folder: Path, recipe: dict[str, Any], index: int, output: Output, title: str = "") -> Place:
    """Where beat ``index`` of a recipe goes, of that title. A few looks at single names, however full the folder is."""
    folder, free = Path(folder), None
    for stem in _stems(recipe, index, title):
        path = folder / f"{stem}.mid"
        state, _ = _look(folder, stem, recipe, index, output)
        if state is State.THERE:
            return Place(path, True)
        if state in (State.FREE, State.OURS):
            return Place(free or path, False)
        if state is State.CLAIMED:  # by something else, or by this beat before it was interrupted: writing will show
            free = free or path
    raise AssertionError("numbers do not end")


def save(beat: Beat, folder: Path | str = ".", output: Output = Output()) -> list[Path]:  # noqa: B008  (it is frozen)
    """Write a beat; returns its files, the MIDI file first and the JSON last.

    Raises:
        UserError: one cannot be written; then none of them is there.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written to ({error.strerror}); choose another folder with -o") from None
    for stem in _stems(beat.recipe, beat.index, beat.about.get("title", "")):
        state, known = _look(folder, stem, beat.recipe, beat.index, output)
        if state is State.OTHER:
            continue
        try:
            names = known.files if state is State.THERE else _write(folder, stem, beat, output, known)
        except FileExistsError:  # a file of somebody else's
            continue
        return [folder / name for name in (*names, f"{stem}.json")]
    raise AssertionError("numbers do not end")


def read(path: Path | str, codec: DrumCodec) -> Beat:
    """A beat that was saved, by its MIDI file or its JSON.

    Raises:
        UserError: it is none.
    """
    known = read_sidecar(Path(path).with_suffix(".json"))
    recipe = BeatRecipe.from_dict(known.recipe)
    return Beat(known.codes, codec.decode(known.codes, recipe.bpm, recipe.meter), known.index, known.recipe,
                {one.write: one.name for one in codec.drums.classes}, known.about)


class State(Enum):
    """What a name is: free; that of a file without a JSON; this beat's, with all that is asked for or without; or that
    of something else, which may be this beat played otherwise."""

    FREE, CLAIMED, OURS, THERE, OTHER = range(5)


def _stems(recipe: dict[str, Any], index: int, title: str) -> Iterator[str]:
    prompt = recipe.get("said") or {}
    words = [recipe.get("bundle", "drums"), prompt.get("genre"), title, f"seed{recipe.get('seed', 0)}", str(index),
             f"{recipe['bpm']:.4g}bpm" if recipe.get("bpm") else None]
    return numbered("_".join(plain(word) for word in words if word))


def _look(folder: Path, stem: str, recipe: dict[str, Any], index: int,
          output: Output) -> tuple[State, Sidecar | None]:
    json_path, midi = folder / f"{stem}.json", folder / f"{stem}.mid"
    if not os.path.lexists(json_path):
        suffixes = (".mid", *((".wav",) if output.sounds else ()), *((".png",) if output.picture else ()))
        claimed = any(os.path.lexists(folder / (stem + suffix)) for suffix in suffixes)
        return State.CLAIMED if claimed else State.FREE, None
    try:
        known = sidecar.read(json_path)
    except UserError:
        return State.OTHER, None
    if known.beat != sidecar.identity(recipe, index) or not _sounds_as(known, output):
        return State.OTHER, None
    was = known.output
    asked = ((output.sounds, was.sounds), (output.picture, was.picture), (output.tracks, was.tracks))
    if all(there or not wanted for wanted, there in asked) and all((folder / name).exists() for name in known.files):
        return State.THERE, known
    if midi.exists() and hashlib.sha256(midi.read_bytes()).hexdigest() != known.sha256:
        return State.OTHER, None  # it was edited: what is added would be of another beat
    return State.OURS, known


def _sounds_as(known: Sidecar, output: Output) -> bool:
    """Whether the WAV that is there, if there is one, is what is asked for, if one is."""
    if not (output.sounds and known.sound):
        return True
    return (known.sound.get("hash"), known.sound.get("rate")) == (output.player().hash, output.rate)


def _write(folder: Path, stem: str, beat: Beat, output: Output, known: Sidecar | None) -> list[str]:
    """Write all files to temporary ones, then rename them, the JSON last; returns the names of the others.

    Args:
        known: the sidecar of this beat if it is there already; its files stay as they are.

    Raises:
        UserError: one cannot be written; then none of them is there.
        FileExistsError: another file has one of the names.
    """
    sound: dict[str, Any] = {}
    if known is not None:
        was, sound = known.output, known.sound
        output = replace(output if output.sounds else was, wav=output.sounds or was.sounds,
                         picture=output.picture or was.picture, tracks=output.tracks or was.tracks)
    midi, name = midi_drums.to_bytes(beat.clip), f"{stem}.json"
    files = _files(beat, midi, stem, output)

    def write(make: Callable[[Path], dict | None], path: Path) -> None:
        nonlocal sound
        sound = make(path) or sound

    def describe(path: Path) -> None:
        path.write_text(sidecar.text(beat, hashlib.sha256(midi).hexdigest(), output, list(files), sound), "utf-8")

    writers = {one: partial(write, make) for one, make in files.items()
               if known is None or one not in known.files or not (folder / one).exists()}
    write_all(folder, writers | {name: describe}, () if known is None else (name,))  # a JSON that says what was added
    return list(files)


def _files(beat: Beat, midi: bytes, stem: str, output: Output) -> dict[str, Callable[[Path], dict | None]]:
    """What writes each file, the MIDI file first; the WAV's gives what the JSON says of it."""
    files: dict[str, Callable[[Path], dict | None]] = {f"{stem}.mid": partial(_write_bytes, midi)}
    if output.tracks:
        files |= {f"{stem}_{name}.mid": partial(_write_track, clip, name)
                  for name, clip in tracks(beat).items()}
    if output.sounds:
        files[f"{stem}.wav"] = partial(_write_wav, beat, output, stem)
    if output.picture:
        from audiocraft_ext.drums.play.roll import roll

        files[f"{stem}.png"] = partial(roll, beat)
    return files


def tracks(beat: Beat) -> dict[str, DrumClip]:
    """Each drum that is played, by its name as part of a file's, as long as the whole."""
    found: dict[str, DrumClip] = {}
    played = set(beat.clip.notes[:, 1].tolist())
    for pitch in [*(pitch for pitch in beat.names if pitch in played), *sorted(played - beat.names.keys())]:
        name = plain(beat.names.get(pitch, str(pitch))) or str(pitch)
        name = name if name not in found else f"{name}_{pitch}"
        found[name] = replace(beat.clip, notes=beat.clip.notes[beat.clip.notes[:, 1] == pitch])
    return found


def _write_bytes(data: bytes, path: Path) -> None:
    path.write_bytes(data)


def _write_track(clip: DrumClip, name: str, path: Path) -> None:
    path.write_bytes(midi_drums.to_bytes(clip, name))


def _write_wav(beat: Beat, output: Output, stem: str, path: Path) -> dict[str, Any]:
    from audiocraft_ext.drums.play.render import play
    from audiocraft_ext.sound.wav import Markers, write_wav

    player = output.player()
    sound = play(beat.clip, player, output.rate)
    clip = beat.clip
    beats = clip.bars * clip.meter[0] * 4 / clip.meter[1]
    markers = Markers(loop=(0, len(sound.wav)), bpm=clip.bpm if beats % 1 == 0 else None, beats=round(beats))
    write_wav(path, sound.wav, output.rate, comment=_comment(beat), title=stem, markers=markers)
    return {"player": player.name, "hash": player.hash, "rate": output.rate, "samples": len(sound.wav),
            "gain_db": round(sound.gain_db, 2), "silent": [beat.names.get(pitch, str(pitch)) for pitch in sound.silent]}


def _comment(beat: Beat) -> str:
    """The settings without what is long; the JSON has it all."""
    short = {name: value for name, value in beat.recipe.items() if not isinstance(value, str) or len(value) < LONG}
    return json.dumps(short | {"index": beat.index, "beat": sidecar.identity(beat.recipe, beat.index)})


