"""Training: a store, a recipe and a start become a run of ``dora run``; stop, resume, export; grids.

The runs are Dora's: in the workspace's ``outputs/``, with the signature that the same command gets anywhere.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.runs.overrides import quoted
from audiocraft_ext.runs.pipeline import ROOT, overrides_for
from audiocraft_ext.runs.record import read_status
from audiocraft_ext.store.reader import TokenStore
from audiocraft_ext.studio import library
from audiocraft_ext.studio.jobs import Jobs
from audiocraft_ext.studio.workspace import Workspace, choice, number

CONFIGS, GRIDS = ROOT / "configs", Path(__file__).parents[1] / "grids"
FOLDERS = {"audio": "musicgen", "drums": "drums", "notes": "notes", "song": "songs"}  # of configs/solver, by kind
USUAL = {"audio": "musicgen/demo_32khz", "drums": "drums/small", "notes": "notes/small", "song": "songs/small"}
RUN = ["-m", "dora", "-P", "audiocraft_ext", "run"]
LISTENS = 5  # times in a run of so many updates, at the least once
CHECK_S = 180  # of the check; on a busy machine libraries take a minute to load
FRESH_S = 120  # memory that was free so long ago may not be now
_checked: dict[tuple[str, ...], tuple[float, dict[str, Any]]] = {}
MEMORY, SIZE = re.compile(r"memory: (about [^\x1b\n]*)"), re.compile(r"Model size: ([\d.]+ M) params")


def recipes(workspace: Workspace) -> dict[str, Any]:
    """What can be chosen: solvers by kind, scales, grids, each with the first line that its file says of itself; of a
    grid that was started here its page."""
    solvers = {kind: [_config(path, CONFIGS / "solver") for path in sorted((CONFIGS / "solver" / folder).glob("*.yaml"))
                      if path.stem != "default"] for kind, folder in FOLDERS.items()}
    scales = [_config(path, path.parent) for path in sorted((CONFIGS / "model" / "lm" / "model_scale").glob("*.yaml"))]
    pages = {path.stem: workspace.called(path) for path in (workspace.root / "sweeps").glob("*.html")}
    grids = [{"name": path.stem, "about": path.read_text("utf-8").partition('"""')[2].partition("\n")[0],
              "page": pages.get(path.stem)}
             for path in sorted(GRIDS.glob("*.py")) if not path.stem.startswith("_")]
    return {"solvers": solvers, "usual": USUAL, "scales": scales, "grids": grids}


def _config(path: Path, top: Path) -> dict[str, str]:
    comments = [line.lstrip("# ") for line in path.read_text("utf-8").splitlines() if line.startswith("# ")
                and not line.startswith("# @")]
    return {"name": path.relative_to(top).with_suffix("").as_posix(), "about": " ".join(comments)}


def overrides(workspace: Workspace, given: dict[str, Any]) -> list[str]:
    """What a client asked for, as ``dora run`` takes it.

    Raises:
        UserError: what cannot be.
    """
    path = workspace.store_path(given.get("store"))
    store = TokenStore(path)
    known = recipes(workspace)
    solvers = [one["name"] for one in known["solvers"].get(store.spec.kind, ())]
    solver = choice(given, "solver", solvers) or USUAL[store.spec.kind]
    words = [f"solver={solver}"]
    if scale := choice(given, "scale", [one["name"] for one in known["scales"]]):
        words.append(f"model/lm/model_scale={scale}")
    if given.get("start"):
        bundle = workspace.bundle(given["start"])
        bundle.spec.check_same_stream(store.spec.clip, f"the bundle {bundle.name}", f"the store {path.name}")
        start = given["start"] if (library.BUNDLES / str(given["start"])).is_dir() else str(bundle.path)
        words += [f"continue_from={start if start == given['start'] else quoted(start)}",
                  f"transformer_lm.positional_embedding={bundle.lm.positional_embedding}"]  # recipes have their own
    if (updates := number(given, "updates", 1, 10_000_000, whole=True)) is not None:
        words += _length(updates)
    else:
        words.append(f"generate.every={max(1, _epochs(solver) // LISTENS)}")
    for name, key, low, high in (("batch_size", "dataset.batch_size", 1, 1024), ("seed", "seed", 0, 2**53)):
        if (value := number(given, name, low, high, whole=True)) is not None:
            words.append(f"{key}={value}")
    if (lr := number(given, "lr", 1e-7, 1)) is not None:
        words.append(f"optim.lr={lr:g}")
    if (duration := number(given, "segment_duration", 0.1, 600)) is not None:
        words.append(f"dataset.segment_duration={duration:g}")
    if (heard := number(given, "hear_seconds", 0.5, 60)) is not None and store.spec.kind == "audio":
        words.append(f"generate.lm.gen_duration={heard:g}")
    return overrides_for(store, [], words)


def _length(updates: int) -> list[str]:
    """Epochs of a run of about so many updates: enough to see it learn, to hear it now and then."""
    epochs = max(1, min(40, round(updates / 25)) if updates >= 50 else min(4, updates // 5))
    each = max(1, round(updates / epochs))
    return [f"optim.epochs={epochs}", f"optim.updates_per_epoch={each}", f"generate.every={max(1, epochs // LISTENS)}",
            f"schedule.cosine.warmup={min(100, epochs * each // 10)}"]


def _epochs(solver: str) -> int:
    """Of a recipe, as its own file says."""
    import yaml

    recipe = yaml.safe_load((CONFIGS / "solver" / f"{solver}.yaml").read_text("utf-8"))
    return int((recipe.get("optim") or {}).get("epochs") or LISTENS)


def check(workspace: Workspace, given: dict[str, Any]) -> dict[str, Any]:
    """Will it run, and does it fit? The run is built as it would be, in a folder that is thrown away; what was built
    a moment ago need not be built again.

    Returns:
        ``signature``, ``memory`` (in words), ``parameters``, and the ``command`` to type instead.

    Raises:
        UserError: it does not, or would not fit; says what would.
    """
    words = overrides(workspace, given)
    key = (str(workspace.root), *words)
    if key not in _checked or time.monotonic() - _checked[key][0] > FRESH_S:
        _checked[key] = (time.monotonic(), _built(workspace, words))
    return _checked[key][1]


def _built(workspace: Workspace, words: list[str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="micro-studio-") as folder:
        try:
            done = subprocess.run([sys.executable, *RUN, *words, "show=true"], cwd=ROOT, capture_output=True, text=True,
                                  env=os.environ | workspace.environment() | {"MICRO_OUTPUTS": folder},
                                  timeout=CHECK_S, stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            raise UserError(f"building the model took more than {CHECK_S} s; the machine is busy") from None
        said = done.stdout + done.stderr
        if done.returncode:
            lines = said.strip().splitlines() or ["it ended without a word"]
            errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
            raise UserError((errors or lines)[-1])
        signature = next((path.name for path in (Path(folder) / "xps").iterdir()), "")
    found = {name: pattern.search(said) for name, pattern in (("memory", MEMORY), ("parameters", SIZE))}
    return {"signature": signature, "command": "dora run " + " ".join(words),
            **{name: match[1] if match else "" for name, match in found.items()}}


def start(workspace: Workspace, jobs: Jobs, given: dict[str, Any]) -> dict:
    """Start a run; ``minutes`` stop it with a checkpoint, from which it can be resumed.

    Raises:
        UserError: as for :func:`check`; or the run is under way.
    """
    about, minutes = check(workspace, given), number(given, "minutes", 0.1, 100_000)
    return _run(workspace, jobs, overrides(workspace, given), about["signature"], minutes)


def resume(workspace: Workspace, jobs: Jobs, given: dict[str, Any]) -> dict:
    """Go on with a run of the workspace, whoever started it."""
    folder = run_folder(workspace, given.get("run"))
    try:
        words = json.loads((folder / ".argv.json").read_text("utf-8"))
        assert isinstance(words, list) and all(isinstance(word, str) and "=" in word for word in words)
    except (OSError, ValueError, AssertionError):
        raise UserError(f"{folder.name}: Dora has left no note of how this run was started") from None
    return _run(workspace, jobs, words, folder.name, number(given, "minutes", 0.1, 100_000))


def _run(workspace: Workspace, jobs: Jobs, words: list[str], signature: str, minutes: float | None) -> dict:
    if _job_of(jobs, signature) or _state(workspace, signature) == "running":
        raise UserError(f"the run {signature} is under way; other settings make another run")
    return jobs.start("train", f"train {signature}", [*RUN, *words], limit_s=minutes and 60 * minutes, run=signature)


def _state(workspace: Workspace, signature: str) -> str:
    folder = workspace.root / "outputs" / "xps" / signature
    return library.run(workspace, folder)["state"] if folder.is_dir() else "new"


def _job_of(jobs: Jobs, signature: str) -> dict | None:
    return next((job for job in jobs.running("train") if job["about"].get("run") == signature), None)


def stop(workspace: Workspace, jobs: Jobs, given: dict[str, Any]) -> dict:
    """Ask a run to stop, as Ctrl-C does: it finishes the update and writes a checkpoint. ``now`` kills it."""
    folder = run_folder(workspace, given.get("run"))
    if job := _job_of(jobs, folder.name):
        return jobs.stop(job["id"], now=given.get("now") is True)
    status = read_status(folder)
    if library.run(workspace, folder)["state"] != "running" or status.get("host") != socket.gethostname():
        raise UserError(f"the run {folder.name} is not running on this machine")
    os.kill(int(status["pid"]), signal.SIGKILL if given.get("now") is True else signal.SIGINT)
    return {}


def run_folder(workspace: Workspace, called: object) -> Path:
    """The folder of a run, by its signature.

    Raises:
        UserError: there is none.
    """
    if not isinstance(called, str) or not re.fullmatch(r"[0-9a-f]{8}", called):
        raise UserError(f"expected a run's signature, eight hex digits, got {str(called)[:40]!r}")
    folder = workspace.inside(workspace.root / "outputs" / "xps" / called)
    if not folder.is_dir():
        raise UserError(f"there is no run {called} in the workspace")
    return folder


def export(workspace: Workspace, jobs: Jobs, given: dict[str, Any]) -> dict:
    """Make a bundle ``bundles/NAME`` of a run's best state."""
    folder = run_folder(workspace, given.get("run"))
    bundle = workspace.place("bundles", given.get("name"))
    if bundle.exists():
        raise UserError(f"bundles/{bundle.name} is there already; give the new one another name")
    bundle.parent.mkdir(exist_ok=True)
    return jobs.start("export", f"export {folder.name} to bundles/{bundle.name}",
                      ["-m", "audiocraft_ext.export", str(folder), str(bundle)], run=folder.name,
                      bundle=workspace.called(bundle))


def sweep(workspace: Workspace, jobs: Jobs, given: dict[str, Any]) -> dict:
    """Start a grid on this machine; ``cancel`` ends its runs."""
    grid = choice(given, "grid", [one["name"] for one in recipes(workspace)["grids"]])
    if grid is None:
        raise UserError("choose a grid")
    page = workspace.place("sweeps", f"{grid}.html")
    page.parent.mkdir(exist_ok=True)
    command = ["-m", "audiocraft_ext.sweep.cli", "grid", grid, "--local", "--slots", "1"]
    if given.get("cancel") is True:
        return jobs.start("sweep", f"cancel {grid}", [*command, "--cancel", "--no_monitoring"])
    return jobs.start("sweep", f"grid {grid}", [*command, "--html", str(page)], grid=grid,
                      page=workspace.called(page))
