"""The whole path for drums in one command: ``make demo-drums``, or ``./train.sh --midi DIR`` for a folder of your own.

Four stages, each the command that a person would type: prepare, train, export, sample; one that is done is skipped
(:mod:`audiocraft_ext.runs.pipeline`). Ends with MIDI files, a WAV of each, a picture of piano rolls, and the numbers
that say whether it worked.
"""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path

import numpy as np

from audiocraft_ext.core.errors import Parser, UserError, run_cli
from audiocraft_ext.core.split import VALID
from audiocraft_ext.drums.codec import codec_of
from audiocraft_ext.drums.describe import meter_of
from audiocraft_ext.drums.midi import drums_of, stretches
from audiocraft_ext.drums.play import roll, sidecar
from audiocraft_ext.drums.play.beat import Beat
from audiocraft_ext.engine.bundle import Bundle
from audiocraft_ext.midi.file import read
from audiocraft_ext.runs.pipeline import ROOT, DemoState, add_options, begin, exported, prepared, settle, shown, trained
from audiocraft_ext.store import baseline
from audiocraft_ext.store.reader import TokenStore

GROOVES = ROOT / "data_prep" / "grooves"
RECIPE = ["solver=drums/small", "generate.use=false"]
BEATS, BARS, SEED = 8, 4, 1
VALID_SHARE = 0.2  # of the files
REAL = 4  # rows of the valid split in the picture


def sampled(out: Path, bundle: Path, n: int) -> list[Path]:
    """The MIDI files of those beats of the bundle that are there: by their JSONs, whatever else lies in ``out``."""
    if not (bundle / "model.json").is_file():
        return []
    found, wanted = {}, {"bundle_hash": Bundle(bundle).hash[:16], "seed": SEED}
    for path in sorted(out.glob("*.json")):
        try:
            known = sidecar.read(path)
        except UserError:
            continue
        if wanted.items() <= known.recipe.items() and (out / known.files[0]).is_file():
            found.setdefault(known.index, out / known.files[0])
    return [found[index] for index in range(n) if index in found]


def pictured(store: TokenStore, files: list[Path], bundle: Path) -> list[Beat]:
    """What the model made, and rows that it never saw."""
    codec, about = codec_of(store.settings["codec"]), Bundle(bundle)
    names = {one.write: one.name for one in codec.drums.classes}
    beats, rows = [], [row for row in store.rows if row["split"] == VALID and row["bars"] == BARS]
    for i, file in enumerate(files):
        midi = read(file)
        clip = stretches(midi, drums_of(midi)[0], codec)[0][0].clip
        beats.append(Beat(codec.encode(clip), clip, i, {"bundle": f"made: {about.name}", "seed": SEED}, names))
    for row in rows[:: max(1, len(rows) // REAL)][:REAL]:
        codes = store.read(row["start"], row["frames"])
        clip = codec.decode(codes, row.get("bpm", 120.0), meter_of(row["time_signature"]))
        beats.append(Beat(codes, clip, row["segment"], {"bundle": f"real: {Path(row['source']).name}"}, names))
    return beats


def numbers(state: DemoState, history: list[dict], store: TokenStore) -> str:
    """The table at the end."""
    codes, spec = np.concatenate([store.read(t.start, t.frames) for t in store.tracks(VALID)], axis=1), store.spec
    hits = sum(int((codes[gate] != 0).sum()) for gate in {g.gate for g in spec.gates})
    to_hits = spec.n_q * codes.shape[1] / hits
    known = float(baseline.unigram_loss(store).mean())
    first, last = history[0]["train"]["ce_first"], min(epoch["valid"]["ce"] for epoch in history)
    rows = [(stage, f"{entry['seconds']:.1f} s") for stage, entry in state.stages.items()]
    rows += [
        ("all stages", f"{sum(entry['seconds'] for entry in state.stages.values()):.1f} s"),
        ("loss before training", f"{first * to_hits:.2f} nats a hit"),
        ("validation loss, best", f"{last * to_hits:.2f}  on performances it never saw"),
        ("unigram loss on the same", f"{known * to_hits:.2f}  knowing only how often each code occurs"),
        ("did it learn?", "yes: the validation loss is under both" if last < min(first, known)
         else "no: the validation loss is not under the unigram loss"),
    ]
    return "\n".join(f"  {name:<32}{value}" for name, value in rows)


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = Parser(prog="python -m audiocraft_ext.drums.demo", description=__doc__.split("\n\n")[0])
    parser.add_argument("--midi", type=Path, default=GROOVES, help="folder of MIDI drums (default: those that ship)")
    parser.add_argument("--map", default="drums12", help="which pitches are which drum: a name, or a JSON file")
    add_options(parser, "beats", BEATS, RECIPE)
    args = parser.parse_intermixed_args(argv)
    settle(args, "midi", "beats")
    if Path(args.map).is_file():
        args.map = os.path.abspath(args.map)
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    (state, path), out, bundle = begin(args), args.out, args.out / args.name

    files = sorted(p for p in args.midi.rglob("*") if p.is_file())
    store = prepared(state, args.midi, path, ["-m", "data_prep.midi", str(args.midi), str(path), "--map", args.map,
                                              "--valid-share", str(VALID_SHARE)], files)
    run, history = trained(state, store, RECIPE, args.overrides)
    exported(state, run, bundle, ["--half"], store, history)
    state.run("sample", ["infer.py", str(bundle), "-n", str(args.n), "--bars", str(BARS), "-o", str(out), "--seed",
                         str(SEED), "--wav"], Bundle(bundle).hash, lambda: len(sampled(out, bundle, args.n)) == args.n)

    beats = sampled(out, bundle, args.n)
    pictures = state.pictures("sample", lambda: roll.sheet(pictured(store, beats, bundle), out / "rolls.png"))
    print(f"\n{numbers(state, history, store)}\n")
    print("play        " + "\n            ".join(map(shown, beats)))
    print("listen to   " + shown(beats[0].with_suffix(".wav")) + " and the others")
    print("look at     " + "\n            ".join(map(shown, pictures)))
    print("more        " + shlex.join(["python", shown(ROOT / "infer.py"), shown(bundle), "-n", "16", "--bpm", "174"]))
    return 0


if __name__ == "__main__":
    run_cli(main)
