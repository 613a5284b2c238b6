"""The whole path for drums in one command: ``make demo-drums``, or ``./train.sh --midi DIR`` for a folder of your own.

Four stages, each the command that a person would type: prepare, train, export, sample; one that is done is skipped
(:mod:`audiocraft_ext.diary`). Ends with MIDI files, a WAV of each, a picture of piano rolls, and the numbers that say
whether it worked.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
from pathlib import Path

import numpy as np

from audiocraft_ext import baseline
from audiocraft_ext.bundle import Bundle
from audiocraft_ext.diary import ROOT, Diary, overrides_for, prepared, run_folder, shown
from audiocraft_ext.drums import roll, sidecar
from audiocraft_ext.drums.beat import Beat
from audiocraft_ext.drums.codec import codec_of
from audiocraft_ext.drums.describe import meter_of
from audiocraft_ext.errors import Parser, UserError, run_cli
from audiocraft_ext.midi_drums import drums_of, stretches
from audiocraft_ext.midifile import read
from audiocraft_ext.split import VALID
from audiocraft_ext.store import TokenStore

GROOVES = ROOT / "data_prep" / "grooves"
RECIPE = ["solver=drums/small", "generate.use=false"]
BEATS, BARS, SEED = 8, 4, 1
VALID_SHARE = 0.2  # of the files
REAL = 4  # rows of the validation side in the picture


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


def numbers(diary: Diary, history: list[dict], store: TokenStore) -> str:
    """The table at the end."""
    codes, spec = np.concatenate([store.read(t.start, t.frames) for t in store.tracks(VALID)], axis=1), store.spec
    hits = sum(int((codes[gate] != 0).sum()) for gate in {gate for _, gate, _ in spec.gates})
    to_hits = spec.n_q * codes.shape[1] / hits
    known = float(baseline.unigram_loss(store).mean())
    first, last = history[0]["train"]["ce_first"], min(epoch["valid"]["ce"] for epoch in history)
    rows = [(stage, f"{entry['seconds']:.1f} s") for stage, entry in diary.stages.items()]
    rows += [
        ("all stages", f"{sum(entry['seconds'] for entry in diary.stages.values()):.1f} s"),
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
    parser.add_argument("--name", help="what to call it (default: the folder's name)")
    parser.add_argument("--map", default="drums12", help="which pitches are which drum: a name, or a JSON file")
    parser.add_argument("--out", type=Path, help="folder for beats, picture and bundle (default: out/NAME)")
    parser.add_argument("-n", type=int, default=BEATS, help="beats (default %(default)s)")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help=f"for training (default: {' '.join(RECIPE)})")
    args = parser.parse_intermixed_args(argv)
    if not args.midi.is_dir():
        raise UserError(f"--midi {args.midi}: no such folder")
    args.midi = Path(os.path.abspath(args.midi))  # the stages run in the repository's folder
    args.name = args.name or args.midi.name
    if not args.name or Path(args.name).name != args.name:
        raise UserError(f"--name is a word for folders to be called by, got {args.name!r}")
    args.out = Path(os.path.abspath(args.out or ROOT / "out" / args.name))
    if args.n < 1:
        raise UserError(f"-n is the number of beats, 1 or more, got {args.n}")
    if Path(args.map).is_file():
        args.map = os.path.abspath(args.map)
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    if "MICRO_OUTPUTS" in os.environ:
        os.environ["MICRO_OUTPUTS"] = os.path.abspath(os.environ["MICRO_OUTPUTS"])
    stores = Path(os.path.abspath(os.environ.get("MICRO_STORES", ROOT / "stores")))
    out, bundle, path = args.out, args.out / args.name, stores / args.name
    out.mkdir(parents=True, exist_ok=True)
    diary = Diary.open(out / "demo.json")

    files = sorted(p for p in args.midi.rglob("*") if p.is_file())
    store = prepared(diary, args.midi, path, ["-m", "data_prep.midi", str(args.midi), str(path), "--map", args.map,
                                              "--valid-share", str(VALID_SHARE)], files)
    overrides = overrides_for(store, RECIPE, args.overrides)
    run = run_folder(overrides)
    diary.run("train", ["-m", "dora", "-P", "audiocraft_ext", "run", *overrides], store.hash,
              (run / "checkpoint.th").is_file)
    history = json.loads((run / "history.json").read_text())
    diary.run("export", ["-m", "audiocraft_ext.export", str(run), str(bundle), "--force", "--half"],
              [store.hash, history[-1]["valid"]["ce"]], (bundle / "model.json").is_file)
    diary.run("sample", ["infer.py", str(bundle), "-n", str(args.n), "--bars", str(BARS), "-o", str(out), "--seed",
                         str(SEED), "--wav"], Bundle(bundle).hash, lambda: len(sampled(out, bundle, args.n)) == args.n)

    beats = sampled(out, bundle, args.n)
    pictures = roll.sheet(pictured(store, beats, bundle), out / "rolls.png")
    print(f"\n{numbers(diary, history, store)}\n")
    print("play        " + "\n            ".join(map(shown, beats)))
    print("listen to   " + shown(beats[0].with_suffix(".wav")) + " and the others")
    print("look at     " + "\n            ".join(map(shown, pictures)))
    print("more        " + shlex.join(["python", shown(ROOT / "infer.py"), shown(bundle), "-n", "16", "--bpm", "174"]))
    return 0


if __name__ == "__main__":
    run_cli(main)
