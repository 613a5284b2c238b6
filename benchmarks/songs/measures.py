"""Songs of BeepBox, measured: what a model knows of songs that it never saw, and what it makes.

    python -m benchmarks.songs.measures my/songs --store stores/songs --sketches 40

    loss         nats a frame and a note on held-out windows; beside them what the frequencies of the codes give, and
                 those of each place (steps a beat, beats, channels, step in the bar, channel), counted in the train
                 split
    obeyed       of the channels asked for the share that plays, and of those of pitches the share of codes that are
                 drums (and rest); of --beats whether bars of so many beats repeat the one before more than bars a beat
                 shorter or longer would; of --rhythm how far onsets in a beat are from those of songs in it (half the
                 sum of differences); of the tempo the rank correlation with notes a beat, beside that of songs
    distances    sketches with the facts of held-out rows, to all held-out rows, and copies: as for notes
                 (:mod:`benchmarks.common.music`)
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from audiocraft_ext.core.errors import Parser, UserError, run_cli
from audiocraft_ext.core.spec import Spec
from audiocraft_ext.core.split import TRAIN, VALID
from audiocraft_ext.songs import to_midi
from audiocraft_ext.songs.beepbox.song import PARTS, PITCHES, Song
from audiocraft_ext.songs.codec.voices import FIRST, Facts, codec_of
from audiocraft_ext.songs.demo import DEMO
from audiocraft_ext.songs.play.sketcher import Sketcher
from audiocraft_ext.store import baseline
from audiocraft_ext.store.reader import TokenStore
from benchmarks.common import music
from benchmarks.common.losses import held_out, per_note
from benchmarks.common.machine import describe, finish
from benchmarks.common.music import Music, tell

BARS = 4  # of a sketch, as of a row
SHAPES = ((1, 0), (2, 0), (3, 0), (4, 0), (2, 1), (3, 1), (4, 1))  # channels of pitches, of noise
BEATS, RHYTHMS, TEMPOS = (3, 4, 6), (3, 4, 6, 8), (70, 100, 130, 160)
TRUST = 5.0  # so many codes seen in a place count as much as the frequencies of all places


def main(argv: list[str] | None = None) -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("bundle", type=Path, help="a bundle of songs")
    add("--store", type=Path, required=True, help="what it was trained on")
    add("--sketches", type=int, default=40, help="for each measure (default %(default)s)")
    add("--windows", type=int, default=128, help="of the held-out songs, for the loss (default %(default)s)")
    add("--seed", type=int, default=1)
    add("--save", type=Path, metavar="JSON", help="keep the results there")
    args = parser.parse_args(argv)
    store, sketcher = TokenStore(args.store), Sketcher.load(args.bundle)
    if store.spec.codec_hash != sketcher.bundle.spec.codec_hash:
        raise UserError(f"{args.store}: another codec than the bundle's")
    held, train = (songs_of(store, split) for split in (VALID, TRAIN))
    results = losses(sketcher, store, args.windows) | obeyed(sketcher, held + train, args.sketches, args.seed)
    made = [music_of(one) for one in like_held_out(sketcher, store, args.sketches, args.seed)]
    known, learned = ([music_of(one) for one in lot] for lot in (held, train))
    results |= music.distances(made, known, learned, "sketches", np.random.default_rng(args.seed))
    results |= music.copies(made, known, learned, "sketches")
    finish("songs", describe("numpy", "onnxruntime", "torch"), results, args.save)


def losses(sketcher: Sketcher, store: TokenStore, windows: int) -> dict[str, object]:
    found = {"model": held_out(sketcher.bundle.path, store, windows), "unigram": baseline.unigram_loss(store),
             "place": place_loss(store)}
    return tell(per_note(found, store, DEMO.count))


def place_loss(store: TokenStore) -> np.ndarray:
    """Cross entropy ``[K]`` of the valid codes under the train counts of their places, mixed with those of all; what a
    closed gate decides costs nothing."""
    spec = store.spec.clip
    possible = np.arange(spec.card) < np.array([[spec.size(k)] for k in range(spec.n_q)])
    overall = baseline.code_counts(store, TRAIN)[: spec.n_q] + possible
    overall = overall / overall.sum(axis=1, keepdims=True)
    learned, sums, frames = bars_of(store, TRAIN), np.zeros(spec.n_q), 0
    for facts, codes in bars_of(store, VALID).items():
        bar, frames = codes.shape[2], frames + codes[0].size
        known = learned.get(facts, codes[:, :0])
        for k in range(spec.n_q):
            table = np.bincount(_placed(known, k, spec), minlength=bar * spec.card)
            there, seen = _placed(codes, k, spec), np.repeat(table.reshape(bar, -1).sum(axis=1), spec.card)
            p = (table + TRUST * np.tile(overall[k], bar)) / (seen + TRUST)
            sums[k] -= np.log(p[there]).sum()
    return sums / frames


def bars_of(store: TokenStore, split: str) -> dict[tuple, np.ndarray]:
    """The codes ``[K, bars, frames of a bar]`` of a split, by steps a beat, beats and channels."""
    found = defaultdict(list)
    for row in store.rows:
        if row["split"] == split:
            facts = facts_of(row)
            codes = store.read(row["start"], row["frames"])[: store.spec.clip.n_q].astype(np.int64)
            found[facts[:4]].append(codes.reshape(len(codes), -1, facts.bar))
    return {facts: np.concatenate(some, axis=1) for facts, some in found.items()}


def _placed(codes: np.ndarray, k: int, spec: Spec) -> np.ndarray:
    """``place * card + code`` of the codes of stream k that no gate decides."""
    placed = codes[k] + np.arange(codes.shape[2]) * spec.card
    opened = [gate.open(codes[gate.gate]) for gate in spec.gates if gate.stream == k]
    return placed[opened[0]] if opened else placed.ravel()


def obeyed(sketcher: Sketcher, songs: Sequence[Song], sketches: int, seed: int) -> dict[str, object]:
    def made(n: int, **what) -> Iterable:
        return sketcher.play(sketcher.recipe(bars=BARS, seed=seed, **what), range(max(1, n)))

    asked = played = drums_asked = drums_played = pitches = wrong = 0
    for channels, drums in SHAPES:
        for sketch in made(sketches // len(SHAPES), channels=channels, drums=drums):
            heard = {channel for channel, _, _ in sketch.song.notes()}
            asked, played = asked + channels, played + sum(channel < channels for channel in heard)
            drums_asked, drums_played = drums_asked + drums, drums_played + sum(c >= channels for c in heard)
            first = sketch.codes[0].reshape(-1, channels + drums)[:, :channels]
            pitches, wrong = pitches + int((first >= FIRST[0]).sum()), wrong + int((first >= FIRST[0] + PITCHES).sum())
    results: dict[str, object] = {"channels of pitches asked for that play": played / asked,
                                  "channels of drums asked for that play": drums_played / drums_asked,
                                  "pitch channels: codes that are drums": wrong / max(1, pitches)}
    for beats in BEATS:
        found = [one.song for one in made(sketches // len(BEATS), beats=beats)]
        results[f"{beats} beats: bars repeat as long as asked"] = repeats(found, beats)
        results[f"{beats} beats: the same of songs"] = repeats([one for one in songs if one.beats == beats], beats)
    for rhythm in RHYTHMS:
        like = [one for one in songs if one.rhythm == rhythm]
        mine = [one.song for one in made(sketches // len(RHYTHMS), rhythm=rhythm, channels=4, drums=0)]
        results[f"rhythm {rhythm}: onsets in a beat, to songs in it"] = float(
            np.abs(onsets(mine) - onsets(like)).sum() / 2) if like else float("nan")
    tempo, notes = [], []
    for bpm in TEMPOS:
        for one in made(sketches // len(TEMPOS), bpm=bpm, channels=4, drums=0):
            tempo, notes = [*tempo, bpm], [*notes, per_beat(one.song)]
    results["tempo: rank correlation with notes a beat"] = float(spearmanr(tempo, notes).statistic)
    results["tempo: the same of songs"] = float(spearmanr([one.tempo for one in songs],
                                                          [per_beat(one) for one in songs]).statistic)
    return tell({name: value for name, value in results.items() if not np.isnan(value)})


def starts_of(song: Song) -> np.ndarray:
    """Where notes begin, in parts of the song; what is tied over a bar line once."""
    return np.array([start for channel in song.channels
                     for start, _, _ in to_midi.sounding(channel, song.bars, song.parts)], np.int64)


def onsets(songs: Sequence[Song]) -> np.ndarray:
    """Which share of notes begins where in a beat, ``[24]``."""
    counts = sum((np.bincount(starts_of(song) % PARTS, minlength=PARTS) for song in songs), np.zeros(PARTS))
    return counts / max(1, counts.sum())


def per_beat(song: Song) -> float:
    return to_midi.notes_of(song) / (song.bars * song.beats)


def repeats(songs: Sequence[Song], beats: int) -> float:
    """The share of songs whose onsets, by beat and place in it, are as many beats later more like themselves than a
    beat sooner or later; nan of none."""
    found = []
    for song in songs:
        lane = np.convolve(np.bincount(starts_of(song), minlength=song.bars * song.parts), np.ones(3), "same")
        alike = {lag: _alike(lane[: -lag * PARTS], lane[lag * PARTS :]) for lag in (beats - 1, beats, beats + 1)}
        found.append(alike[beats] > max(alike[beats - 1], alike[beats + 1]))
    return float(np.mean(found)) if found else float("nan")


def _alike(one: np.ndarray, other: np.ndarray) -> float:
    """Their correlation; 0 where one of them is the same all the time."""
    spread = one.std() * other.std()
    return float(((one - one.mean()) * (other - other.mean())).mean() / spread) if spread else 0.0


def rows_of(store: TokenStore, split: str) -> list[dict]:
    """The rows of whole length."""
    return [row for row in store.rows if row["split"] == split and row["bars"] == BARS]


def facts_of(row: dict) -> Facts:
    return Facts(row["beats"], row["rhythm"], row["channels"], row["drums"], round(row.get("bpm") or 120))


def songs_of(store: TokenStore, split: str) -> list[Song]:
    codec, K = codec_of(store.settings["codec"]), store.spec.clip.n_q
    return [codec.decode(store.read(row["start"], row["frames"])[:K], facts_of(row)) for row in rows_of(store, split)]


def like_held_out(sketcher: Sketcher, store: TokenStore, sketches: int, seed: int) -> list[Song]:
    """New sketches, each with the facts of a held-out row."""
    rows, made = rows_of(store, VALID), []
    for i in np.random.default_rng(seed).choice(len(rows), min(sketches, len(rows)), replace=False).tolist():
        facts = facts_of(rows[i])
        recipe = sketcher.recipe(bars=BARS, seed=seed, bpm=facts.tempo, beats=facts.beats, rhythm=facts.rhythm,
                                 channels=facts.pitched, drums=facts.noise)
        made += [sketch.song for sketch in sketcher.play(recipe, [i])]
    return made


def music_of(song: Song) -> Music:
    """A song as it is compared."""
    rows = to_midi.to_midi(song).notes
    notes = np.stack([rows["start"], rows["end"] - rows["start"], rows["track"], rows["pitch"]], 1).astype(np.int64)
    drums = frozenset(i for i, channel in enumerate(song.channels, 1) if channel.noise)
    return Music(notes, drums, PARTS * to_midi.PART, song.bars * song.beats)


if __name__ == "__main__":
    run_cli(main)
