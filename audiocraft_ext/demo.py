"""The whole path in one command: ``make demo``, or ``./train.sh --audio DIR`` for a folder of your own.

Four stages, each the command that a person would type, in a process of its own with its own progress bar: prepare,
train, export, sample. What a stage made is noted in ``demo.json``; a stage whose command and input are as they were
is skipped. Ends with the files to listen to, a picture, and the numbers that say whether it worked.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from audiocraft_ext import audio, baseline, picture
from audiocraft_ext.errors import Parser, UserError, run_cli
from audiocraft_ext.split import VALID
from audiocraft_ext.store import TokenStore

ROOT = Path(__file__).resolve().parents[1]
BREAKS = ROOT / "data_prep" / "breaks"
RECIPE = ["solver=musicgen/nano_32khz", "generate.use=false"]
CLIPS, SECONDS, SEED = 4, 10.0, 1
VALID_SHARE = 0.25  # of the files; of a small folder a tenth would be one or two, and their loss an accident


@dataclass
class Diary:
    """What was done, by stage, in a small JSON beside the results."""

    path: Path
    stages: dict[str, dict] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path) -> Diary:
        try:
            return cls(path, json.loads(path.read_text("utf-8")))
        except (OSError, ValueError):
            return cls(path)

    def run(self, stage: str, command: list[str], inputs: str, made: Path) -> None:
        """Run a stage's command unless it was run like this before and what it made is there.

        Args:
            inputs: whatever else decides the result, such as the hash of the store.
            made: a file or folder that the stage leaves behind.
        """
        key = {"command": command, "inputs": inputs}
        if self.stages.get(stage, {}).get("key") == key and made.exists():
            print(f"== {stage}: done before, skipped", flush=True)
            return
        print(f"== {stage}: {' '.join(command)}", flush=True)
        start = time.perf_counter()
        code = subprocess.run([sys.executable, *command], cwd=ROOT).returncode
        if code:
            raise SystemExit(code if code > 0 else 130)  # the stage has said why
        self.stages[stage] = {"key": key, "seconds": time.perf_counter() - start}
        self.path.write_text(json.dumps(self.stages, indent=1), "utf-8")


def run_folder(overrides: list[str]) -> Path:
    """The folder that Dora gives a run of these overrides."""
    code = "import sys; from audiocraft_ext.train import main; print(main.get_xp(sys.argv[1:]).folder)"
    done = subprocess.run([sys.executable, "-c", code, *overrides], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        print(done.stderr.strip().splitlines()[-1], file=sys.stderr)
        raise SystemExit(done.returncode)
    return ROOT / done.stdout.strip().splitlines()[-1]


def real_clips(store: TokenStore, source: Path, sample_rate: int, n: int) -> list[tuple[str, np.ndarray]]:
    """The beginnings of the first ``n`` valid sources, which the model never saw."""
    clips = []
    for track in store.tracks(VALID)[:n]:
        wav = audio.read(source / track.source, sample_rate)[: int(SECONDS * sample_rate)]
        clips.append((Path(track.source).name, wav))
    return clips


def shown(path: Path) -> str:
    """A path as one would type it here."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def numbers(diary: Diary, history: list[dict], store: TokenStore, seconds_of_sound: float) -> str:
    """The table at the end."""
    known = baseline.summary(store)
    first, last = history[0]["train"]["ce_first"], min(epoch["valid"]["ce"] for epoch in history)
    rows = [(f"{stage}", f"{entry['seconds']:.1f} s") for stage, entry in diary.stages.items()]
    rows += [
        ("all stages", f"{sum(entry['seconds'] for entry in diary.stages.values()):.1f} s"),
        ("loss before training", f"{first:.3f} nats a code (knowing nothing is {math.log(store.spec.card):.3f})"),
        ("training loss at the end", f"{history[-1]['train']['ce']:.3f}"),
        ("validation loss, best", f"{last:.3f}  on files it never saw"),
        ("unigram loss on the same files", f"{known['unigram_loss']:.3f}  knowing only how often each code occurs"),
        ("unigram entropy of all codes", f"{known['unigram_entropy']:.3f}"),
        ("real-time factor", f"{seconds_of_sound / diary.stages['sample']['seconds']:.1f}x  "
                             f"({seconds_of_sound:.0f} s of sound, from a cold start)"),
    ]
    worked = last < known["unigram_loss"] and last < first
    rows.append(("did it learn?", "yes: the validation loss is under both" if worked
                 else "no: the validation loss is not under the unigram loss"))
    return "\n".join(f"  {name:<32}{value}" for name, value in rows)


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="python -m audiocraft_ext.demo", description=__doc__.split("\n\n")[0])
    parser.add_argument("--audio", type=Path, default=BREAKS, help="folder of sound (default: the breaks that ship)")
    parser.add_argument("--name", help="what to call it (default: the folder's name)")
    parser.add_argument("--codec", default="microcodec")
    parser.add_argument("--out", type=Path, help="folder for clips, picture and bundle (default: out/NAME)")
    parser.add_argument("-n", type=int, default=CLIPS, help="clips (default %(default)s)")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help=f"for training (default: {' '.join(RECIPE)})")
    args = parser.parse_args(argv)
    folder = Path(os.path.abspath(args.audio))
    if not folder.is_dir():
        raise UserError(f"--audio {args.audio}: no such folder")
    name = args.name or folder.name
    store_path = Path(os.environ.get("MICRO_STORES", ROOT / "stores")) / name
    out = Path(os.path.abspath(args.out or ROOT / "out" / name))
    out.mkdir(parents=True, exist_ok=True)
    diary = Diary.open(out / "demo.json")

    listing = sorted((p.relative_to(folder).as_posix(), p.stat().st_size) for p in audio.find_audio(folder))
    diary.run("prepare", ["-m", "data_prep.audio", str(folder), str(store_path), "--codec", args.codec,
                          "--valid-share", str(VALID_SHARE)],
              json.dumps(listing), store_path / "store.json")
    store = TokenStore(store_path)
    overrides = [*RECIPE, *(o for o in args.overrides)]
    if any(o.startswith("solver=") for o in args.overrides):
        overrides = args.overrides
    overrides = [*overrides, f"datasource.store={store_path}"]
    run = run_folder(overrides)
    diary.run("train", ["-m", "dora", "-P", "audiocraft_ext", "run", *overrides], store.hash, run / "checkpoint.th")
    history = json.loads((run / "history.json").read_text())
    bundle = out / name
    trained = f"{store.hash} {history[-1]['valid']['ce']}"
    diary.run("export", ["-m", "audiocraft_ext.export", str(run), str(bundle), "--force"], trained,
              bundle / "model.json")
    diary.run("sample", ["infer.py", str(bundle), "-n", str(args.n), "-d", str(SECONDS), "-o", str(out),
                         "--seed", str(SEED)], trained, bundle / "model.json")

    born = (bundle / "model.json").stat().st_mtime
    clips = sorted(c for c in out.glob("*.wav") if c.stat().st_mtime >= born)  # not those of an earlier training
    rate = json.loads((bundle / "model.json").read_text())["codec"]["sample_rate"]
    image = out / "picture.png"
    picture.compare([("real (never seen in training)", real_clips(store, folder, rate, args.n)),
                     ("generated", [(c.name, audio.read(c, rate)) for c in clips[: args.n]])], rate, image)
    print(f"\n{numbers(diary, history, store, args.n * SECONDS)}\n")
    print("listen to   " + "\n            ".join(map(shown, clips)))
    print(f"look at     {shown(image)}")
    print(f"play it     python infer.py {shown(bundle)} -n 10")
    return 0


if __name__ == "__main__":
    run_cli(main)
