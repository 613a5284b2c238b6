"""What people say of a MIDI file: its style and kind, tempo, title, licence; from its name and what lies beside it."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path

from data_prep.shared import labels
from data_prep.shared.naming import Labels, bpm_of, in_name, licence_of, text_of

# The names of the Groove MIDI Dataset: number_style_bpm_kind_meter, its style with a hyphen before what it is more
# closely ("latin-brazilian-samba" is latin/brazilian-samba in its table).
_GROOVE = re.compile(r"[^_]+_(?P<style>[a-z]+(-[a-z-]+)?)_(?P<bpm>\d{2,3})_(?P<kind>beat|fill)_\d+-\d+", re.IGNORECASE)
_KINDS = {"fill": "fill", "fills": "fill", "beat": "beat", "groove": "beat", "loop": "beat", "intro": "intro",
          "outro": "outro", "ending": "outro", "break": "break"}


@dataclass(frozen=True)
class DrumLabels:
    """None where nobody says. ``labels`` are those that sound has too; ``kind`` is beat, fill, intro, outro, break, or
    what a sidecar calls it."""

    labels: Labels
    style: str | None = None
    kind: str | None = None


def read(path: Path, root: Path) -> DrumLabels:
    """What is said of a file: by its sidecar ``X.json`` (title, bpm, licence, style or genre, kind), else by its name,
    and for the licence by a text beside it or further up to ``root``."""
    beside, (style, kind, bpm) = labels.sidecar(path), of_name(path.stem)
    licence = text_of(beside.get("licence")) or text_of(beside.get("license"))
    found = Labels(title=text_of(beside.get("title")), bpm=bpm_of(beside.get("bpm")) or bpm,
                  licence=licence and (licence_of(licence) or licence) or _licence(path.parent, root))
    return DrumLabels(found, text_of(beside.get("style")) or text_of(beside.get("genre")) or style,
                      text_of(beside.get("kind")) or kind)


def of_name(stem: str) -> tuple[str | None, str | None, float | None]:
    """Style, kind and tempo that a name without its ending says."""
    if match := _GROOVE.fullmatch(stem):
        return match["style"].lower().replace("-", "/", 1), match["kind"].lower(), bpm_of(match["bpm"])
    kinds = {_KINDS[word] for word in re.findall("[a-z]+", stem.lower()) if word in _KINDS}
    if len(kinds) == 2:
        kinds -= {"beat"}  # "intro loop", "drum fill groove"
    return None, kinds.pop() if len(kinds) == 1 else None, in_name(stem)[0]


@functools.lru_cache(4096)
def _licence(folder: Path, root: Path) -> str | None:
    return labels.licence_near(folder / "any", root)
