"""The whole path in one command: ``make demo``, or ``./train.sh --audio DIR`` for a folder of your own.

Four stages, each the command that a person would type, in a process of its own with its own progress bar: prepare,
train, export, sample; one that is done is skipped (:mod:`audiocraft_ext.runs.pipeline`). The model starts from the
embedded one, unless ``--scratch`` is given or it is of another codec or size. Ends with the clips to listen to, a
picture, and in words how steady their beat is, how like the folder they are and whether it was learnt by heart.
"""

from __future__ import annotations

import argparse
import math
import os
import shlex
from pathlib import Path

import numpy as np

from audiocraft_ext.audio.clips import read_comment
from audiocraft_ext.audio.codec import CODECS, DEFAULT
from audiocraft_ext.audio.engine import SoundBundle
from audiocraft_ext.core.errors import Parser, run_cli
from audiocraft_ext.core.split import TRAIN, VALID
from audiocraft_ext.engine.bundle import find_bundle
from audiocraft_ext.runs.pipeline import ROOT, DemoState, add_options, begin, exported, prepared, settle, shown, trained
from audiocraft_ext.sound import files as sound_files
from audiocraft_ext.sound import picture
from audiocraft_ext.store import baseline
from audiocraft_ext.store.reader import TokenStore

BREAKS = ROOT / "data_prep" / "breaks"
RECIPE = ["solver=musicgen/demo_32khz", "generate.use=false"]
SCRATCH = ["optim.lr=3e-3"]  # from random weights larger steps get further
# In the same minute a small model makes six times the updates, and minutes of sound want a strong weight decay: it
# has a pulse, where the large one has none yet (docs/SOUND.md).
SMALL = ["transformer_lm.dim=160", "transformer_lm.num_layers=3", "transformer_lm.num_heads=2",
         "dataset.segment_duration=6", "optim.epochs=16", "optim.muon.weight_decay=3", "optim.adam.weight_decay=3"]
PREPARE = ["--cut", "bars:2", "--lock-tempo", "--variants", "3", "--augment", "shift=20,gain=3,polarity"]
CLIPS, SECONDS, SEED = 8, 10.0, 1
VALID_SHARE = 0.25  # of the files; of a small folder a tenth would be one or two, and their loss an accident


def prepare(state: DemoState, folder: Path, path: Path, args: argparse.Namespace) -> TokenStore:
    """The first stage: the store of ``folder``, at ``path``."""
    place = ["--codec-path", args.codec_path] if args.codec_path else []
    command = ["-m", "data_prep.audio", str(folder), str(path), "--codec", args.codec, *place,
               "--valid-share", str(VALID_SHARE), *PREPARE, *([] if args.codec == "debug" else ["--metronome"])]
    return prepared(state, folder, path, command, sound_files.find_audio(folder))


def recipe(store: TokenStore, args: argparse.Namespace) -> list[str]:
    """What a run is trained with, unless it is told otherwise."""
    embedded = SoundBundle(find_bundle()).lm_spec
    same = (embedded.codec_hash, embedded.n_q, embedded.controls) == (
        store.spec.codec_hash, store.spec.n_q, store.spec.controls)
    named = [override.partition("=")[0] for override in args.overrides]
    resized = any(name.startswith(("transformer_lm.", "model/lm", "continue_from")) for name in named)
    if same and not (args.scratch or resized):
        start = ["continue_from=embedded"]
    else:
        start = [*SCRATCH, *(SMALL if same and not resized and "solver" not in named else [])]
    return [*RECIPE, *start, *([] if args.verbose else ["logging.level=WARNING"])]


def sampled(out: Path, bundle: Path, n: int) -> list[Path]:
    """Those of the ``n`` clips that are there: by what their comments say, whatever else lies in ``out``."""
    if not (bundle / "model.json").is_file():
        return []
    b = SoundBundle(bundle)
    samples = b.frames(SECONDS) * b.hop_length
    wanted = {"bundle_hash": b.hash[:16], "seed": SEED, "samples": samples}
    found: dict[int, Path] = {}
    for path in sorted(out.glob("*.wav")):
        about = read_comment(path)
        if wanted.items() <= about.items():
            found.setdefault(about["index"], path)
    return [found[index] for index in range(n) if index in found]


def real_clips(store: TokenStore, source: Path, sample_rate: int, n: int) -> list[tuple[str, np.ndarray]]:
    """The beginnings of the first ``n`` valid tracks, which the model never saw."""
    clips = []
    for track in store.tracks(VALID)[:n]:
        first = min(row["start"] for row in store.rows if row["source"] == track.source)
        start = store.spec.seconds(track.start - first)  # above 0: the end of a single file was held out
        seconds = min(SECONDS, store.spec.seconds(track.frames))
        wav = sound_files.read(source / track.source, sample_rate)
        clips.append((Path(track.source).name, wav[round(start * sample_rate) :][: round(seconds * sample_rate)]))
    return clips


def losses(history: list[dict], store: TokenStore) -> list[tuple[str, str]]:
    """Of ``--verbose``: lines of the table."""
    known = baseline.summary(store)
    return [
        ("loss before training", f"{history[0]['train']['ce_first']:.3f} nats a code (knowing nothing is "
                                 f"{math.log(store.spec.card):.3f})"),
        ("training loss at the end", f"{history[-1]['train']['ce']:.3f}"),
        ("validation loss, best", f"{min(epoch['valid']['ce'] for epoch in history):.3f}  on files it never saw"),
        ("unigram loss on the same files", f"{known['unigram_loss']:.3f}  knowing only how often each code occurs"),
        ("unigram entropy of all codes", f"{known['unigram_entropy']:.3f}"),
    ]


def judged(clips: list[Path], folder: Path, store: TokenStore, codec: str) -> list[list[str]]:
    """What the clips sound like, in words: ``[what, verdict, why]`` of the beat, of the likeness, of copies. The folder
    is compared as its codec sounds."""
    from audiocraft_ext.evaluate.judge import judge
    from audiocraft_ext.evaluate.sounds import of_clips, of_store
    from audiocraft_ext.evaluate.words import words

    real, held_out = (of_store(store.path, split, codec) for split in (TRAIN, VALID))
    result = judge(of_clips(clips), real, held_out, False, CLIPS * 5)
    return [list(row) for row in words(result, folder.name)]


def table(rows: list[tuple[str, str]]) -> str:
    width = max(len(name) for name, _ in rows) + 2
    return "\n".join(f"  {name:<{width}}{value}" for name, value in rows)


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = Parser(prog="python -m audiocraft_ext.audio.demo", description=__doc__.split("\n\n")[0])
    parser.add_argument("--audio", type=Path, default=BREAKS, help="folder of sound (default: the breaks that ship)")
    parser.add_argument("--scratch", action="store_true", help="start from random weights, not from the embedded ones")
    parser.add_argument("--verbose", action="store_true", help="log lines while it trains, losses at the end")
    parser.add_argument("--codec", default=DEFAULT,
                        help="spectral (default), microcodec, encodec_32khz, or a folder")
    parser.add_argument("--codec-path", help="where the codec's files lie, if not in their usual place")
    add_options(parser, "clips", CLIPS, RECIPE)
    args = parser.parse_intermixed_args(argv)
    settle(args, "audio", "clips")
    if args.codec not in CODECS:
        args.codec = os.path.abspath(args.codec)
    if args.codec_path:
        args.codec_path = os.path.abspath(args.codec_path)
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    (state, path), out, bundle = begin(args), args.out, args.out / args.name

    store = prepare(state, args.audio, path, args)
    run, history = trained(state, store, recipe(store, args), args.overrides)
    exported(state, run, bundle, ["--codec", args.codec_path or args.codec], store, history)
    made = SoundBundle(bundle)
    state.run("sample", ["infer.py", str(bundle), "-n", str(args.n), "-d", str(SECONDS), "-o", str(out),
                         "--seed", str(SEED)], made.hash, lambda: len(sampled(out, bundle, args.n)) == args.n)

    clips, rate = sampled(out, bundle, args.n), made.sample_rate

    def draw() -> list[Path]:
        rows = [("real (never seen in training)", real_clips(store, args.audio, rate, args.n)),
                ("generated", [(c.name, sound_files.read(c, rate)) for c in clips])]
        picture.compare(rows, rate, out / "picture.png")
        return [out / "picture.png"]

    image, = state.pictures("sample", draw)
    if "words" not in state.stages["sample"]:
        print("== judge: listening to the clips and to the folder", flush=True)
        state.note("sample", words=judged(clips, args.audio, store, args.codec_path or args.codec))
    rows = [(f"{what}:", f"{verdict} ({why})") for what, verdict, why in state.stages["sample"]["words"]]
    rows.append(("took:", ", ".join(f"{name} {entry['seconds']:.0f} s" for name, entry in state.stages.items())))
    print(f"\n{table(rows + (losses(history, store) if args.verbose else []))}\n")
    print("listen to   " + "\n            ".join(map(shown, clips)))
    print(f"look at     {shown(image)}")
    print("play it     " + shlex.join(["python", shown(ROOT / "infer.py"), shown(bundle), "-n", "10"]))
    return 0


if __name__ == "__main__":
    run_cli(main)
