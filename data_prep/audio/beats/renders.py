"""Drumming of which every beat is known, as sound: what the beat net is trained and measured on.

Performances of the Groove MIDI Dataset (J. Gillick et al., "Learning to groove with inverse sequence transformations",
ICML 2019), which were played to a click, so that their ticks are the truth; and patterns of a drum machine. Played with
kits drawn from a folder of single hits, with bass, chords, noise and a room on top.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import mido
import numpy as np

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.midi.kit import Hit, Kit

RATE = 32_000
KICKS, SNARES, CLOSED, OPEN = (35, 36), (38, 40), (22, 42, 44), (26, 46)
LOUD, RIMS, TOMS = (49, 52, 55, 57), (37, 39, 56, 53), (41, 43, 45, 47, 48, 50, 58)
RIDES = (51, 59)
# Sixteen steps: kick, snare, hat; capitals are loud. From records everybody knows and from none.
PATTERNS = (
    "K...K...K...K... ....S.......S... ..H...H...H...H.", "K...K...K...K... ....S.......S... hhHhhhHhhhHhhhHh",
    "K...K...K...K..k ........S....... H.h.H.h.H.h.H.h.", "K.........K..... ....S.......S... H.h.H.h.H.h.H.h.",
    "K..k......K..... ....S..s....S... H.h.H.h.H.h.H.hh", "K.K.......KK.... ....S..s.s..S..s H.H.H.H.H.H.H.H.",
    "K.K.......K..... ....S..s.s....S. H.H.H.H.H.H.H.H.", "..KK......K..... .s..S..s.s....S. H.H.H.H.H.H.H.H.",
    "K.....K.K....... ....S.......S... H.H.H.H.H.H.H.H.", "K......k..K..... ....S.......S..s H.hhH.hhH.hhH.hh",
    "K.......K.K..... ....S.......S... H.H.H.H.H.H.H.H.", "K.....K...K..... ....S..s.s..S... hhhhhhhhhhhhhhhh",
    "K..K..K...K..K.. ....S.......S... H.h.H.h.H.h.H.h.", "K......KK....... ....S.......S... H...H...H...H...",
    "K.K...k..K...... ....S..s.s.sS..s HHHHHHHHHHHHHHHH", "K..K..K...K.K... ....S..s....S... ..H...H...H...H.",
    "K.....k.K.....k. ....S.......S... H.H.H.H.H.H.H.H.", "K...K..kK...K... ....S.......S... h.H.h.H.h.H.h.H.",
)


@dataclass(frozen=True)
class Take:
    """Something played: ``notes [n, 3]`` of (seconds, pitch, velocity), its ``beats`` in seconds and how many make a
    bar; the first beat is a downbeat."""

    name: str
    kind: str
    bpm: float
    beats_per_bar: int
    notes: np.ndarray
    beats: np.ndarray

    def faster(self, factor: float) -> Take:
        return Take(self.name, self.kind, self.bpm * factor, self.beats_per_bar,
                    self.notes / [factor, 1, 1], self.beats / factor)

    def part(self, begin: float, end: float) -> Take:
        """From ``begin`` to ``end`` seconds, which become 0 and later; it may begin within a bar."""
        keep = (self.notes[:, 0] >= begin) & (self.notes[:, 0] < end)
        return Take(self.name, self.kind, self.bpm, self.beats_per_bar, self.notes[keep] - [begin, 0, 0],
                    self.beats - begin)

    @property
    def seconds(self) -> float:
        return float(self.notes[-1, 0]) if len(self.notes) else 0.0


def read_take(path: Path, kind: str = "beat") -> Take:
    """A performance: one tempo, one time signature, ticks that are the click's."""
    midi = mido.MidiFile(path)
    time, notes, bpm, metre = 0.0, [], 120.0, (4, 4)
    for message in midi:
        time += message.time
        if message.type == "note_on" and message.velocity:
            notes.append((time, message.note, message.velocity))
        elif message.type == "set_tempo":
            bpm = mido.tempo2bpm(message.tempo)
        elif message.type == "time_signature":
            metre = message.numerator, message.denominator
    quarters = metre[0] * 4 // metre[1]
    beats = np.arange(0, (notes[-1][0] if notes else 0) + 0.05, 60 / bpm)
    return Take(path.stem, kind, bpm, quarters, np.array(notes, np.float64).reshape(-1, 3), beats)


def read_groove(folder: Path, split: str) -> list[Take]:
    """The performances of an official split ("train", "validation") in whole quarters, by name."""
    try:
        with (folder / "info.csv").open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["split"] == split]
    except FileNotFoundError:
        raise UserError(f"{folder}: not the Groove MIDI Dataset, there is no info.csv in it") from None
    rows = [row for row in rows if row["time_signature"] in ("3-4", "4-4", "5-4")]
    return [read_take(folder / row["midi_filename"], row["beat_type"]) for row in
            sorted(rows, key=lambda row: row["midi_filename"])]


def machine_take(rng: np.random.Generator, seconds: float) -> Take:
    """A drum machine's: a pattern or two, varied, in time, at 80 to 185 BPM; breaks and fills now and then."""
    bpm = float(rng.choice([rng.uniform(80, 115), rng.uniform(115, 150), rng.uniform(150, 185)]))
    step = 15 / bpm
    swing, jitter = rng.choice([0, 0, 0.1, 0.2]) * step, rng.choice([0, 0.002, 0.006])
    chosen = [PATTERNS[i].split() for i in rng.integers(len(PATTERNS), size=2)]
    pitches = (36, int(rng.choice(SNARES)), int(rng.choice([42, 42, 51])))
    notes, bars = [], int(seconds / step / 16) + 1
    silent = set(rng.integers(bars, size=1 + bars // 8)) if rng.random() < 0.3 else set()
    for bar in range(bars):
        lines = chosen[int(bar % 4 == 3) if rng.random() < 0.8 else int(rng.integers(2))]
        for lane, (line, pitch) in enumerate(zip(lines, pitches)):
            if bar in silent and lane < 2:
                continue
            for i, c in enumerate(line):
                drop, add = rng.random() < 0.04, rng.random() < 0.015
                if (c != "." and not drop) or add:
                    loud = rng.uniform(90, 127) if c.isupper() else rng.uniform(30, 80)
                    notes.append(((bar * 16 + i) * step + (swing if i % 2 else 0), pitch, loud))
        if bar % 8 == 0 and rng.random() < 0.4:
            notes.append((bar * 16 * step, 49, rng.uniform(80, 120)))
        if bar % 4 == 3 and rng.random() < 0.3:
            notes += [((bar * 16 + i) * step, int(rng.choice([38, 45, 48])), rng.uniform(50, 120))
                      for i in range(12, 16) if rng.random() < 0.8]
    table = np.array(notes, np.float64).reshape(-1, 3)
    table[:, 0] = np.maximum(table[:, 0] + rng.normal(size=len(table)) * jitter, 0)
    return Take("machine", "beat", bpm, 4, table[np.argsort(table[:, 0])], np.arange(bars * 4) * step * 4)


def hits_of(folder: Path, leave_out: frozenset[str] = frozenset()) -> dict[str, list[Path]]:
    """The single hits of ``folder`` by what they can stand for, told by their names."""
    kinds = {"kick": ("bd_", "drum_bass", "drum_heavy", "elec_hollow", "elec_soft_k"),
             "snare": ("sn_", "drum_snare", "elec_snare", "elec_hi_s", "elec_lo_s", "elec_mid_s", "elec_filt",
                       "perc_snap"),
             "open": ("drum_cymbal_open", "hat_cats", "hat_gump", "hat_len", "elec_cymbal", "hat_noiz", "hat_psych"),
             "loud": ("drum_cymbal_h", "drum_cymbal_s", "drum_splash", "elec_cymbal", "perc_till"),
             "hat": ("hat_", "drum_cymbal_cl", "drum_cymbal_p"),
             "tom": ("drum_tom", "elec_fuzz", "elec_bong", "elec_blup", "perc_imp"),
             "bass": ("bass_", "glitch_bass"), "other": ("elec_", "glitch_", "perc_", "drum_cow")}
    found: dict[str, list[Path]] = {kind: [] for kind in kinds}
    for path in sorted(folder.glob("*.flac")):
        kind = next((k for k, starts in kinds.items() if path.name.startswith(starts)), None)
        if kind and path.stem not in leave_out:
            found[kind].append(path)
    if not all(found.values()):
        raise UserError(f"{folder}: expected single hits as FLAC named as Sonic Pi's are, such as bd_808.flac")
    found["other"] += found["tom"]
    return found


def random_kit(rng: np.random.Generator, hits: dict[str, list[Path]]) -> Kit:
    """One of the hits for each group of pitches, at random levels and tunings."""
    made: dict[int, Hit] = {}

    def add(pitches: tuple[int, ...], kind: str, low: float, high: float, choke: str = "") -> None:
        path = hits[kind][rng.integers(len(hits[kind]))]
        tune = float(rng.choice([-3, -1, 0, 0, 1, 3]))
        made.update(dict.fromkeys(pitches, Hit(kind, 10 ** (rng.uniform(low, high) / 20), choke, ((1, path),), tune)))

    add(KICKS, "kick", -8, 0), add((38,), "snare", -9, 0), add((40,), "snare", -9, 0)
    add(CLOSED, "hat", -22, -5, "hat"), add(OPEN, "open", -18, -6, "hat"), add(LOUD, "loud", -16, -4)
    for pitches in (TOMS[:2] + TOMS[6:], TOMS[2:4], TOMS[4:6]):
        add(pitches, "tom", -12, 0)
    add(RIMS, "other", -18, -4), add(RIDES, str(rng.choice(["loud", "hat"])), -24, -10)
    return Kit("random", made, float(rng.uniform(20, 40)))


def accompany(rng: np.random.Generator, take: Take, hits: dict[str, list[Path]], seconds: float) -> np.ndarray:
    """Bass, chords or little sounds in the take's time, ``float32 [N]``: what lies over drums in music."""
    out = np.zeros(round(seconds * RATE), np.float32)
    step, bar = 15 / take.bpm, take.beats_per_bar * 4  # steps of a sixteenth
    first = take.beats[0]
    begin = first + np.floor(-first / step / bar) * step * bar  # a downbeat at or before 0
    bars = int((seconds - begin) / step / bar) + 1
    if rng.random() < 0.6:
        kit = Kit("bass", {p: Hit("bass", 1.0, "b", ((1, path),), float(p)) for p, path in
                           zip((-5, 0, 3, 7), [hits["bass"][rng.integers(len(hits["bass"]))]] * 4)}, 30)
        where = rng.random(bar) < rng.choice([0.1, 0.25, 0.5])
        where[0] |= rng.random() < 0.8
        tones = rng.choice([-5, 0, 0, 0, 3, 7], size=bar)
        notes = [(begin + (b * bar + i) * step, tones[i], rng.uniform(90, 127)) for b in range(bars)
                 for i in np.flatnonzero(where) if rng.random() < 0.9]
        out += rng.uniform(0.1, 0.6) * kit.render(notes, seconds, RATE)
    if rng.random() < 0.5:
        out += rng.uniform(0.03, 0.3) * _chords(rng, begin, step * bar * rng.choice([0.5, 1, 1, 2, 4]), seconds)
    if rng.random() < 0.4:
        paths = [hits["other"][i] for i in rng.integers(len(hits["other"]), size=3)]
        kit = Kit("other", {p: Hit("other", 1.0, "", ((1, path),)) for p, path in enumerate(paths)}, 30)
        grid = np.sort(rng.choice(bar * 2, size=rng.integers(2, 10), replace=False))
        notes = [(begin + (b * bar + i) * step, rng.integers(3), rng.uniform(40, 127)) for b in range(0, bars, 2)
                 for i in grid if rng.random() < 0.9]
        out += rng.uniform(0.05, 0.4) * kit.render(notes, seconds, RATE)
    return out


def _chords(rng: np.random.Generator, begin: float, length: float, seconds: float) -> np.ndarray:
    """Held chords that change every ``length`` seconds, softly or at once."""
    out, n = np.zeros(round(seconds * RATE), np.float32), max(1, round(length * RATE))
    attack, richness = rng.choice([0.003, 0.05, 0.4]), rng.integers(1, 8)
    t = np.arange(n) / RATE
    shape = np.minimum(1, t / attack) * np.minimum(1, (length - t) / 0.03) * np.exp(-t * rng.choice([0, 1, 4]))
    made = []
    for _ in range(4):
        roots = 110 * 2 ** ((rng.choice([0, 3, 5, 7, 8, 10]) + np.array([0, 3, 7, 12])) / 12)
        tones = [np.sin(2 * np.pi * f * k * t) / k for f in roots for k in range(1, richness + 1)]
        made.append((np.sum(tones, axis=0) * shape / 4).astype(np.float32))
    for i in range(int((seconds - begin) / length) + 1):
        at = round((begin + i * length) * RATE)
        sound = made[i % 4][max(0, -at):][: max(0, len(out) - max(0, at))]
        out[max(0, at): max(0, at) + len(sound)] += sound
    return out
