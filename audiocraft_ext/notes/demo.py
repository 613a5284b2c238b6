"""The whole path for notes in one command: ``make demo-notes``, or ``python -m audiocraft_ext.notes.demo --midi DIR``
for a folder of your own.

Four stages, each the command that a person would type: prepare, train, export, sample; one that is done is skipped
(:mod:`audiocraft_ext.runs.pipeline`). Ends with MIDI files, piano rolls, and the numbers that say whether it worked.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from audiocraft_ext.core.errors import Parser, UserError, run_cli
from audiocraft_ext.core.split import VALID
from audiocraft_ext.engine.bundle import Bundle
from audiocraft_ext.notes.codec.multitrack import FIRST, POSITION
from audiocraft_ext.notes.play import output
from audiocraft_ext.runs.pipeline import ROOT, DemoState, add_options, begin, exported, prepared, settle, shown, trained
from audiocraft_ext.store import baseline
from audiocraft_ext.store.reader import TokenStore

SONGS = ROOT / "data_prep" / "songs"
RECIPE = ["solver=notes/small", "generate.use=false"]
PIECES, BARS, SEED = 4, 8, 1


def sampled(out: Path, bundle: Path) -> dict[int, Path]:
    """The MIDI files of those pieces of the bundle that are there, by their numbers."""
    found: dict[int, Path] = {}
    if not (bundle / "model.json").is_file():
        return found
    wanted = {"bundle_hash": Bundle(bundle).hash[:16], "seed": SEED}
    for path in sorted(out.glob("*.json")):
        try:
            known = output.read_sidecar(path)
        except UserError:
            continue
        if wanted.items() <= known.recipe.items() and (out / known.files[0]).is_file():
            found.setdefault(known.index, out / known.files[0])
    return found


def nats_a_note(store: TokenStore) -> float:
    """What a nat a code, the mean over streams and frames of the valid split, is in nats a note."""
    codes = np.concatenate([store.read(track.start, track.frames) for track in store.tracks(VALID)], axis=1)
    return store.spec.n_q * codes.shape[1] / max(1, int((codes[POSITION] >= FIRST).sum()))


def numbers(state: DemoState, history: list[dict], store: TokenStore) -> str:
    """The table at the end."""
    a_note = nats_a_note(store)
    known = float(baseline.unigram_loss(store).mean())
    first, last = history[0]["train"]["ce_first"], min(epoch["valid"]["ce"] for epoch in history)
    rows = [(stage, f"{entry['seconds']:.1f} s") for stage, entry in state.stages.items()]
    rows += [
        ("all stages", f"{sum(entry['seconds'] for entry in state.stages.values()):.1f} s"),
        ("loss before training", f"{first * a_note:.2f} nats a note"),
        ("validation loss, best", f"{last * a_note:.2f}  on songs it never saw"),
        ("unigram loss on the same", f"{known * a_note:.2f}  knowing only how often each code occurs"),
        ("did it learn?", "yes: the validation loss is under both" if last < min(first, known)
         else "no: the validation loss is not under the unigram loss"),
    ]
    return "\n".join(f"  {name:<32}{value}" for name, value in rows)


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = Parser(prog="python -m audiocraft_ext.notes.demo", description=__doc__.split("\n\n")[0])
    parser.add_argument("--midi", type=Path, default=SONGS, help="folder of MIDI files (default: those that ship)")
    add_options(parser, "pieces", PIECES, RECIPE)
    args = parser.parse_intermixed_args(argv)
    settle(args, "midi", "pieces")
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    (state, path), out, bundle = begin(args), args.out, args.out / args.name

    files = sorted(p for p in args.midi.rglob("*") if p.is_file())
    store = prepared(state, args.midi, path, ["-m", "data_prep.midi", str(args.midi), str(path), "--codec", "notes"],
                     files)
    run, history = trained(state, store, RECIPE, args.overrides)
    exported(state, run, bundle, ["--half"], store, history)
    state.run("sample", ["infer.py", str(bundle), "-n", str(args.n), "--bars", str(BARS), "-o", str(out), "--seed",
                         str(SEED)], Bundle(bundle).hash, lambda: len(sampled(out, bundle)) >= args.n)

    pieces = sampled(out, bundle)
    print(f"\n{numbers(state, history, store)}\n")
    print("play      " + "\n          ".join(shown(pieces[index]) for index in sorted(pieces)))
    print("look at   " + "\n          ".join(shown(pieces[index].with_suffix(".png")) for index in sorted(pieces)))
    return 0


if __name__ == "__main__":
    run_cli(main)
