"""Stages of a demo: commands that a person would type, each in a process of its own with its own progress bar.

What a stage made is noted in a JSON; a stage whose command and input are as they were is skipped.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.runs.overrides import quoted
from audiocraft_ext.store.reader import TokenStore

ROOT = Path(__file__).resolve().parents[2]
OWNER = "source.txt"  # in a store's folder: which folder of files it was made from


def run_to_its_end(command: list[str]) -> int:
    """Run one of our programs; its exit code, 128 + n if signal n ended it.

    Ctrl-C reaches the program by itself (it is in our process group) and gets all the time that it needs to save.
    """
    process: subprocess.Popen | None = None

    def pass_on(number: int, frame: object) -> None:
        if number == signal.SIGTERM and process is not None:  # sent to us alone
            process.terminate()

    # Functions, not SIG_IGN: that the program would inherit.
    handlers = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        process = subprocess.Popen([sys.executable, *command], cwd=ROOT)
        code = process.wait()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return code if code >= 0 else 128 - code


@dataclass
class DemoState:
    """What was done, by stage, in a small JSON beside the results."""

    path: Path
    stages: dict[str, dict] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path) -> DemoState:
        try:
            return cls(path, json.loads(path.read_text("utf-8")))
        except (OSError, ValueError):
            return cls(path)

    def run(self, stage: str, command: list[str], inputs: object, made: Callable[[], bool]) -> None:
        """Run a stage's command unless it was run like this before and what it made is there.

        Args:
            inputs: whatever else decides the result, such as the hash of the store.
            made: whether what the stage leaves behind is there.
        """
        key = {"command": _deciding(command), "inputs": inputs}
        known = self.stages.get(stage, {})
        known = known if known.get("key") == key else {}
        if known.get("done") and made():
            print(f"== {stage}: done before, skipped", flush=True)
            return
        print(f"== {stage}: python {shlex.join(command)}", flush=True)
        start = time.perf_counter()
        code = run_to_its_end(command)
        before = 0.0 if known.get("done") else known.get("seconds", 0.0)  # what an interrupted run took counts too
        self.stages[stage] = {"key": key, "done": code == 0, "seconds": before + time.perf_counter() - start}
        self._save()
        if code:
            raise SystemExit(code)  # the stage has said why

    def note(self, stage: str, **values: object) -> None:
        """Add JSON ``values`` to a stage's entry; they are kept until the stage runs again."""
        entry = self.stages[stage]
        if entry != entry | values:
            self.stages[stage] = entry | values
            self._save()

    def pictures(self, stage: str, draw: Callable[[], list[Path]]) -> list[Path]:
        """The pictures of what a stage made, drawn again if it ran again or one of them is gone."""
        paths = [Path(path) for path in self.stages[stage].get("pictures", ())]
        if not paths or not all(path.is_file() for path in paths):
            paths = draw()
            self.note(stage, pictures=[str(path) for path in paths])
        return paths

    def _save(self) -> None:
        self.path.write_text(json.dumps(self.stages, indent=1), "utf-8")


def _deciding(words: list[str]) -> list[str]:
    """Those words of a command that can change what it makes: not how much it logs."""
    return [word for word in words if not word.startswith("logging.level=")]


def add_options(parser: argparse.ArgumentParser, things: str, n: int, recipe: list[str]) -> None:
    """The options of every demo, but for the folder that it begins with."""
    parser.add_argument("--name", help="what to call it (default: the folder's name)")
    parser.add_argument("--out", type=Path, help=f"folder for {things}, picture and bundle (default: out/NAME)")
    parser.add_argument("-n", type=int, default=n, help=f"{things} (default %(default)s)")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help=f"for training (default: {' '.join(recipe)})")


def settle(args: argparse.Namespace, option: str, things: str) -> None:
    """Check these options, and make their paths whole: the stages run in the repository's folder.

    Args:
        option: that says the folder, such as "audio".

    Raises:
        UserError: one that cannot be.
    """
    folder = getattr(args, option)
    if not folder.is_dir():
        raise UserError(f"--{option} {folder}: no such folder")
    folder = Path(os.path.abspath(folder))
    setattr(args, option, folder)
    args.name = args.name or folder.name
    if not args.name or Path(args.name).name != args.name:
        raise UserError(f"--name is a word for folders to be called by, got {args.name!r}")
    args.out = Path(os.path.abspath(args.out or ROOT / "out" / args.name))
    if args.n < 1:
        raise UserError(f"-n is the number of {things}, 1 or more, got {args.n}")


def begin(args: argparse.Namespace) -> tuple[DemoState, Path]:
    """The state of a demo, in its folder, and where its store is to be."""
    if "MICRO_OUTPUTS" in os.environ:
        os.environ["MICRO_OUTPUTS"] = os.path.abspath(os.environ["MICRO_OUTPUTS"])
    stores = Path(os.path.abspath(os.environ.get("MICRO_STORES", ROOT / "stores")))
    args.out.mkdir(parents=True, exist_ok=True)
    return DemoState.open(args.out / "demo.json"), stores / args.name


def trained(state: DemoState, store: TokenStore, recipe: list[str], given: list[str]) -> tuple[Path, list[dict]]:
    """The stage that trains: the folder of the run, and its history."""
    overrides = overrides_for(store, recipe, given)
    key = [_deciding(overrides), os.environ.get("MICRO_OUTPUTS"), configs_hash()]
    known = state.stages.get("train", {}).get("run", {})
    run = Path(known["folder"]) if known.get("key") == key else run_folder(overrides)
    state.run("train", ["-m", "dora", "-P", "audiocraft_ext", "run", *overrides], store.hash,
              (run / "checkpoint.th").is_file)
    state.note("train", run={"key": key, "folder": str(run)})
    return run, json.loads((run / "history.json").read_text())


def exported(state: DemoState, run: Path, bundle: Path, how: list[str], store: TokenStore, history: list[dict]) -> None:
    """The stage that exports."""
    state.run("export", ["-m", "audiocraft_ext.export", str(run), str(bundle), "--force", *how],
              [store.hash, history[-1]["valid"]["ce"]], (bundle / "model.json").is_file)


def prepared(state: DemoState, folder: Path, path: Path, command: list[str], files: list[Path]) -> TokenStore:
    """The stage that makes the store ``path`` of the ``files`` below ``folder``; one store is made of one folder only.

    Raises:
        UserError: it was made of another.
    """
    owner = path / OWNER
    if owner.is_file() and owner.read_text("utf-8", "surrogateescape") != str(folder):
        raise UserError(f"{path} was made from {owner.read_text('utf-8', 'replace')}, not from {folder}; give this "
                        f"folder a name of its own with --name (if it was only moved, remove {owner})")
    stats = [(p, p.stat()) for p in files]
    listing = [[p.relative_to(folder).as_posix(), s.st_size, s.st_mtime_ns] for p, s in stats]
    try:
        state.run("prepare", command, listing, (path / "store.json").is_file)
    finally:
        if path.is_dir() and not owner.is_file():
            owner.write_text(str(folder), "utf-8", "surrogateescape")
    return TokenStore(path)


def overrides_for(store: TokenStore, recipe: list[str], given: list[str]) -> list[str]:
    """What a run is trained with: ``given`` on top of the recipe; other data is another run, by its label."""
    recipe = [] if any(o.startswith("solver=") for o in given) else recipe
    label = "".join(o.partition("=")[2].strip("'\"") + " " for o in given if o.startswith("label="))
    return [*recipe, *(o for o in given if not o.startswith("label=")),
            f"datasource.store={quoted(str(store.path))}", f"label={quoted(label + store.hash[:8])}"]


def configs_hash() -> str:
    """A hash of configs/, which with a run's overrides decides its folder."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / "configs").rglob("*.yaml")):
        digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def run_folder(overrides: list[str]) -> Path:
    """The folder that Dora gives a run of these overrides. Takes seconds: torch and audiocraft are imported."""
    code = "import sys; from audiocraft_ext.train import main; print(main.get_xp(sys.argv[1:]).folder)"
    done = subprocess.run([sys.executable, "-c", code, *overrides], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        print((done.stderr.strip() or "the run has no folder").splitlines()[-1], file=sys.stderr)
        raise SystemExit(done.returncode)
    return ROOT / done.stdout.strip().splitlines()[-1]


def shown(path: Path) -> str:
    """A path as one would type it here."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
