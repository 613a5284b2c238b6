"""What was found, for a person: ``index.html`` with a player for each clip, a picture, and ``evaluation.json``."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from audiocraft_ext.core.files import make_folder, write
from audiocraft_ext.evaluate.judge import HELD_OUT, MADE, Judged, Result
from audiocraft_ext.evaluate.sounds import RATE
from audiocraft_ext.evaluate.words import number
from audiocraft_ext.sound import picture
from audiocraft_ext.sound.level import level
from audiocraft_ext.sound.wav import write_wav

FORMAT, VERSION = "micro-musicgen evaluation", 1
HEARD = 8  # clips of real sound on the page
DRAWN = 5  # clips of each in the picture
SMALL = 4  # rows of small print


def _distance(value: float, error: float) -> str:
    return number(value, 1) + (f" ± {number(error, 1)}" if error == error else "")


def _share(value: float) -> str:
    return "?" if value != value else f"{100 * value:.0f}%"


ROWS = {
    "KAD, msd": lambda f: _distance(f["kad_msd"], f["kad_msd_error"]),
    "KAD, mtt": lambda f: _distance(f["kad_mtt"], f["kad_mtt_error"]),
    "pulse": lambda f: number(f["pulse"]),
    "bars found": lambda f: _share(f["found"]),
    "sure bars": lambda f: _share(f["sure"]),
    "copies": lambda f: _share(f["copied"]),
    "in step": lambda f: number(f["in_step"]),
    "onsets a second": lambda f: number(f["onsets"], 1),
    "flatness": lambda f: number(f["flatness"], 4),
    "silence": lambda f: _share(f["silence"]),
}


def table(result: Result) -> list[tuple[str, list[str]]]:
    """The figures, ``(name, one cell for each set)``; the last :data:`SMALL` are small print."""
    return [(title, [cell(defaultdict(lambda: math.nan, judged.figures)) for judged in result.sets.values()])
            for title, cell in ROWS.items()]


def save(folder: Path, result: Result, made: str, like: str, words: list[tuple[str, str, str]]) -> Path:
    """Write everything into ``folder``; returns the page.

    Args:
        made, like: names of what was compared.

    Raises:
        UserError: the folder cannot be written to.
    """
    make_folder(folder)
    clips = {name: _clips(folder, name, result.sets[name], most) for name, most in ((MADE, None), (HELD_OUT, HEARD))}
    columns = [("real, held out", _drawn(result.sets[HELD_OUT])), ("made", _drawn(result.sets[MADE]))]
    if any(column for _, column in columns):
        picture.compare(columns, RATE, folder / "picture.png")
    about = {"format": FORMAT, "version": VERSION, "made": made, "like": like, "reference_clips": result.reference,
             "copy_limit": result.limit, "copy_limit_windows": result.limit_windows, "versions": result.versions,
             "sets": {name: judged.figures for name, judged in result.sets.items()},
             "words": [{"what": what, "verdict": verdict, "why": why} for what, verdict, why in words], "clips": clips}
    write(folder / "evaluation.json", json.dumps(_plain(about), indent=1) + "\n")
    env = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
                      loader=FileSystemLoader(Path(__file__).parent))
    page = env.get_template("page.html.j2").render(
        made=made, like=like, words=words, sets=list(result.sets), table=table(result), small=SMALL, clips=clips,
        picture=(folder / "picture.png").is_file(), limit=result.limit, versions=result.versions, number=number)
    write(folder / "index.html", page)
    return folder / "index.html"


def _clips(folder: Path, name: str, judged: Judged, most: int | None) -> list[dict]:
    """The first clips of a set as files at one loudness, with what is known of each."""
    (folder / name).mkdir(exist_ok=True)
    nearest: dict[int, object] = {}
    for place in judged.places:
        if place.clip not in nearest or place.score > nearest[place.clip].score:
            nearest[place.clip] = place
    out = []
    for i, (clip, row) in enumerate(zip(judged.clips[:most], judged.rows)):
        file = f"{name}/{i:03}.wav"
        write_wav(folder / file, level(clip.wav, RATE).wav, RATE, title=clip.name)
        place = nearest.get(i)
        out.append({"name": clip.name, "start": clip.start, "file": file, **row, "nearest": place and {
            "score": place.score, "at": place.at, "source": place.source, "start": place.start}})
    return out


def _drawn(judged: Judged) -> list[tuple[str, object]]:
    return [(clip.name, level(clip.wav, RATE).wav) for clip in judged.clips[:DRAWN]]


def _plain(value: object) -> object:
    """For JSON: rounded, null for what is not a number."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    return value
