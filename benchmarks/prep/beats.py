"""Tempo and downbeats where the truth is known: ``python -m benchmarks.prep.beats GROOVE [--oneshots DIR] [--music
DIR]``.

GROOVE is the Groove MIDI Dataset. The performances of its validation split that last four bars are played with the kit
that ships and, given a folder of single hits, with kits drawn from it. Tempo is right within 2%; a cut, every fourth
downbeat, within 20 ms of a downbeat. librosa's ``beat_track`` is asked for the tempo of the same sounds. Of ``--music``
nothing is known: what was found is printed, and how many bars a file would last.

Where the bass drum plays another beat of the bar than the first at least four times as often as that one, the truth is
in doubt: ticks count from where the recording began. Those performances count like all others, and the share of cuts is
printed without them as well.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from audiocraft_ext.core.errors import Parser, UserError, run_cli
from audiocraft_ext.midi.kit import Kit
from audiocraft_ext.sound import files as sound_files
from benchmarks.common.machine import describe, finish
from data_prep.audio.beats.grid import SURE, Beats
from data_prep.audio.beats.listener import BeatListener
from data_prep.audio.beats.renders import KICKS, RATE, Take, hits_of, random_kit, read_groove

NEAR, FAR = 0.02, 0.02  # seconds a cut may be off; share a tempo may be
BARS = 4


def listen(wav: np.ndarray, **how) -> tuple[Beats | None, float]:
    """What is found, and the seconds of CPU it takes."""
    start = time.process_time()
    listener = BeatListener(RATE)
    for i in range(0, len(wav), 2**18):
        listener.push(wav[i: i + 2**18])
    return listener.result(**how), time.process_time() - start


def cut_errors(take: Take, beats: Beats) -> np.ndarray:
    """Seconds from each cut to the nearest true downbeat."""
    bar = take.beats_per_bar * 60 / take.bpm
    return (beats.downbeats[::BARS] / RATE - take.beats[0] + bar / 2) % bar - bar / 2


def within(bpm: float, truth: float) -> str:
    """ "right", "octave" (twice or half), or "wrong"."""
    for word, factors in (("right", (1,)), ("octave", (0.5, 2))):
        if any(abs(bpm * f / truth - 1) < FAR for f in factors):
            return word
    return "wrong"


def doubtful(take: Take) -> bool:
    """Whether the bass drum says that the bars begin on another beat."""
    beat = np.round((take.notes[:, 0] - take.beats[0]) * take.bpm / 30) % (2 * take.beats_per_bar)
    kicks = np.bincount(beat[np.isin(take.notes[:, 1], KICKS)].astype(int), minlength=2 * take.beats_per_bar)[::2]
    return take.beats_per_bar == 4 and kicks[1:].max() >= max(12, 4 * int(kicks[0]))


def librosa_tempo(wav: np.ndarray) -> float:
    import librosa

    return float(np.atleast_1d(librosa.beat.beat_track(y=wav, sr=RATE)[0])[0])


def judge(takes: list[tuple[Take, np.ndarray]], peer: bool) -> tuple[dict, list[str]]:
    """Numbers over all takes, and a line on each that went wrong."""
    tempo, other, files, errors, cpu, lines = [], [], [], [], 0.0, []
    for take, wav in takes:
        beats, seconds = listen(wav)
        cpu += seconds
        tempo.append(within(beats.bpm, take.bpm) if beats else "none")
        if peer:
            other.append(within(librosa_tempo(wav), take.bpm))
        off = cut_errors(take, beats) if beats else np.zeros(0)
        right = float((np.abs(off) <= NEAR).mean()) if len(off) else 0.0
        sure = beats is not None and beats.confidence >= SURE
        files.append((sure, right, len(off), int((np.abs(off) <= NEAR).sum()), doubtful(take)))
        if sure:
            errors += list(off)
        if tempo[-1] != "right" or right < 0.8:
            marks = ("sure" if sure else "not sure") + (", in doubt" if doubtful(take) else "")
            found = f"{beats.bpm:.1f} BPM, {beats.beats_per_bar} beats a bar" if beats else "nothing"
            lines.append(f"  {take.name} {take.bpm:.0f}: {found}, {right:.0%} of cuts, "
                         f"{np.median(off) * 1000 if len(off) else 0:+.0f} ms, {marks}")
    surely = [f for f in files if f[0]]
    undoubted = [f for f in surely if not f[4]]
    length = sum(len(wav) for _, wav in takes) / RATE
    share = lambda words, word: words.count(word) / max(1, len(words))
    off = np.abs(errors) * 1000 if errors else np.zeros(1)
    return {"files": len(takes), "minutes": length / 60, "tempo": share(tempo, "right"),
            "tempo_octave": share(tempo, "octave"), "tempo_none": share(tempo, "none"),
            "librosa": share(other, "right"), "librosa_octave": share(other, "octave"),
            "sure": len(surely) / len(files),
            "cuts_sure": sum(f[3] for f in surely) / max(1, sum(f[2] for f in surely)),
            "doubtful": sum(bool(f[4]) for f in files),
            "cuts_sure_undoubted": sum(f[3] for f in undoubted) / max(1, sum(f[2] for f in undoubted)),
            "files_sure_right": float(np.mean([f[1] >= 0.8 for f in surely] or [0])),
            "cuts_all": sum(f[3] for f in files) / max(1, sum(f[2] for f in files)),
            "median_ms": float(np.median(off)), "p95_ms": float(np.percentile(off, 95)),
            "cpu_ms_per_s": 1000 * cpu / length}, lines


def music(folder: Path) -> None:
    """What is found in files of which nothing is known."""
    for path in sound_files.find_audio(folder):
        wav = sound_files.read(path, RATE)
        beats, _ = listen(wav)
        seconds = len(wav) / RATE
        bars = seconds * beats.bpm / 60 / beats.beats_per_bar if beats else 0
        text = "no beat" if beats is None else (
            f"{beats.bpm:7.2f} BPM in {beats.beats_per_bar}, {bars:7.3f} bars, "
            f"first downbeat {beats.downbeats[0] / RATE:.3f} s, confidence {beats.confidence:.2f}")
        print(f"  {path.name:<36}{seconds:7.2f} s  {text}")


def main() -> None:
    parser = Parser(prog="python -m benchmarks.prep.beats", description=__doc__.split("\n\n")[0])
    parser.add_argument("groove", type=Path)
    parser.add_argument("--oneshots", type=Path, help="single hits, of which kits are drawn")
    parser.add_argument("--music", type=Path, nargs="*", default=[], help="folders of sound to show results on")
    parser.add_argument("--no-peer", action="store_true", help="without librosa")
    parser.add_argument("--save", type=Path)
    args = parser.parse_args()
    takes = [t for t in read_groove(args.groove, "validation") if t.seconds >= BARS * t.beats_per_bar * 60 / t.bpm]
    if not takes:
        raise UserError(f"{args.groove}: no performance of four bars in the validation split")
    kits = {"the kit that ships": lambda _: Kit.load()}
    if args.oneshots:
        rng, hits = np.random.default_rng(0), hits_of(args.oneshots)
        kits["a random kit each"] = lambda _: random_kit(rng, hits)
    results = {}
    for name, kit in kits.items():
        played = [(t, kit(t).render(t.notes, t.seconds + 1, RATE)) for t in takes]
        numbers, lines = judge(played, not args.no_peer)
        results[name] = numbers
        print(f"{name}: {numbers['files']} performances, {numbers['minutes']:.0f} minutes")
        peer = "" if args.no_peer else f"; librosa {numbers['librosa']:.1%} and {numbers['librosa_octave']:.1%}"
        print(f"  tempo within 2%: {numbers['tempo']:.1%}; twice or half of it {numbers['tempo_octave']:.1%}{peer}")
        print(f"  sure (confidence from {SURE:g}): {numbers['sure']:.1%} of files; of their cuts "
              f"{numbers['cuts_sure']:.1%} right, median {numbers['median_ms']:.1f}, 95% {numbers['p95_ms']:.1f} ms; "
              f"{numbers['files_sure_right']:.1%} of those files have 80% right")
        print(f"  without {numbers['doubtful']} performances whose truth is in doubt: "
              f"{numbers['cuts_sure_undoubted']:.1%} of the cuts of sure ones are right")
        print(f"  all files: {numbers['cuts_all']:.1%} of cuts within 20 ms; {numbers['cpu_ms_per_s']:.2f} ms of CPU "
              f"a second, {1000 / numbers['cpu_ms_per_s']:.0f} times real time")
        print("\n".join(lines))
    for folder in args.music:
        print(folder.name)
        music(folder)
    finish("beats", describe("librosa", "scipy", "mido"), results, args.save)


if __name__ == "__main__":
    run_cli(main)
