"""What the weird tools do to a sound, in numbers: ``python -m benchmarks.sampling.weird [BUNDLE] [--source FILE ...]``.

Plays each chain on the codes of some clips (new ones, or the files given), decodes both and prints, as means over the
clips: how far the sound is from what it was (log mel distance in dB, over all frames, and the correlation of the two
loudness curves), the spectral centroid, and the onsets a second. Needs librosa, which comes with ``[train]``.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from audiocraft_ext.audio.engine import SoundEngine
from audiocraft_ext.audio.weird.chain import Chain, Context
from audiocraft_ext.core.errors import Parser, run_cli
from audiocraft_ext.sound import files as sound_files

BPM, SECONDS = 120, 8.0
CHAINS = (
    "", "splice:with=next,at=0",  # nothing, and another clip altogether: the two ends of the scale
    "mutate:share=1,books=0", "mutate:share=1,books=1", "mutate:share=1,books=2", "mutate:share=1,books=3",
    "mutate:share=1,books=1-", "mutate:share=10%", "mutate:share=10%,pick=any", "mutate:share=30%",
    "recode:add=1,books=0", "recode:add=1,books=1-",
    "swap:with=next,books=0", "swap:with=next,books=1-", "shift:by=1f,books=1-", "shift:by=1/4b,books=1-",
    "shift:by=1/4b,books=0",
    "reroll:keep=0", "reroll:keep=0-2", "reroll:books=0", "infill:at=1b,len=1b,every=2b",
    "reverse:at=1b,len=1b,every=2b", "reverse:books=0", "stutter:at=1b,len=1/4b,times=4,every=2b",
    "repeat:at=2b,len=1/2b,times=4",
)


def measure(engine: SoundEngine, clips: list[np.ndarray], text: str, seed: int) -> dict[str, float]:
    """The means over ``clips``, each ``[K, T]``, of what ``text`` does to them."""
    rows = []
    for i, codes in enumerate(clips):
        context = Context(
            engine.spec, seed, i, BPM, other=lambda name, i=i: clips[(i + 1) % len(clips)],
            resample=lambda given, s, i=i: engine.generate([i], given.shape[1], seed=s, given=given)[0])
        after = Chain.parse(text).apply(codes, context)
        rows.append(compare(*(engine.decode(c[None])[0, 0] for c in (codes, after)), engine.bundle.sample_rate))
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def compare(before: np.ndarray, after: np.ndarray, sample_rate: int) -> dict[str, float]:
    """``after`` against ``before``, both ``[N]``, as far as both go."""
    import librosa

    N = min(len(before), len(after))
    mels = [librosa.power_to_db(librosa.feature.melspectrogram(y=y[:N], sr=sample_rate, n_mels=64, hop_length=640),
                                amin=1e-6, top_db=None) for y in (before, after)]
    loud = [librosa.amplitude_to_db(librosa.feature.rms(y=y[:N], hop_length=640)[0], amin=1e-4)
            for y in (before, after)]
    still = min(np.ptp(x) for x in loud) == 0
    return {
        "distance_db": float(np.abs(mels[0] - mels[1]).mean()),
        "loudness_correlation": float("nan") if still else float(np.corrcoef(*loud)[0, 1]),
        "level_db": float(20 * np.log10((after.std() + 1e-9) / (before.std() + 1e-9))),
        "centroid_hz": float(librosa.feature.spectral_centroid(y=after, sr=sample_rate).mean()),
        "onsets_s": len(librosa.onset.onset_detect(y=after, sr=sample_rate)) / (len(after) / sample_rate),
    }


def main(argv: list[str] | None = None) -> None:
    parser = Parser(prog="python -m benchmarks.sampling.weird", description=__doc__.split("\n\n")[0])
    parser.add_argument("bundle", nargs="?", default=None, help="folder or name of the instrument")
    parser.add_argument("-n", type=int, default=4, help="new clips (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--source", type=Path, nargs="+", help="sound files to play on instead, 8 s of each at most")
    parser.add_argument("--chain", action="append", help="a chain to measure instead of the built-in ones")
    parser.add_argument("--threads", type=int)
    args = parser.parse_args(argv)
    from audiocraft_ext.engine.bundle import find_bundle

    engine = SoundEngine(find_bundle(args.bundle), args.threads)
    frames, rate = engine.bundle.frames(SECONDS), engine.bundle.sample_rate
    if args.source:
        sounds = [sound_files.read(path, rate)[: round(SECONDS * rate)] for path in args.source]
        clips = [engine.encode(wav[None, None])[0] for wav in sounds]
    else:
        clips = list(engine.generate(args.n, frames, seed=args.seed))
    results = {}
    print(f"{len(clips)} clips of {engine.bundle.name}, {BPM} BPM\n\n"
          f"{'chain':45s} distance dB  loudness r  level dB  centroid Hz  onsets/s")
    for text in args.chain or CHAINS:
        row = results[text] = measure(engine, clips, text, args.seed)
        print(f"{text or '(nothing)':45s} {row['distance_db']:11.1f} {row['loudness_correlation']:11.2f} "
              f"{row['level_db']:9.1f} {row['centroid_hz']:12.0f} {row['onsets_s']:9.1f}", flush=True)
    print(json.dumps({"bundle": engine.bundle.hash[:16], "clips": len(clips), "bpm": BPM, "chains": results}))


if __name__ == "__main__":
    run_cli(main)
