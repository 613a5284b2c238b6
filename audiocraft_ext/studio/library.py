"""The library: bundles, token stores, runs and clips, as they lie in the workspace's files."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.files import json_or_empty
from audiocraft_ext.engine.bundle import BUNDLES, Bundle, list_bundles
from audiocraft_ext.page.build import instrument
from audiocraft_ext.runs.pipeline import ROOT
from audiocraft_ext.runs.record import read_curve
from audiocraft_ext.store.reader import TokenStore
from audiocraft_ext.studio.workspace import Workspace
from audiocraft_ext.sweep import sounds
from audiocraft_ext.sweep.summary import overrides, summary

SHIPPED = {name: ROOT / "data_prep" / name for name in ("breaks", "grooves", "songs")}  # what the demos train on
SOUND, MIDI = (".wav", ".flac", ".ogg", ".mp3"), (".mid", ".midi")
SONG = ".beepbox.json"  # what a song's JSON ends with, which is no clip's sidecar
MOST_CLIPS = 2000  # of a folder


def bundles(workspace: Workspace) -> list[dict[str, Any]]:
    """Those that ship and the workspace's. ``id`` is what a client calls one by; one that cannot be read has a
    ``problem`` instead of what is known of it."""
    places = [(name, BUNDLES / name) for name in list_bundles()]
    places += [(workspace.called(path), path) for path in workspace.holding("model.json") if path != workspace.root]
    return [_bundle(name, path) for name, path in places]


def _bundle(name: str, path: Path) -> dict[str, Any]:
    try:
        one = Bundle(path)
        size = sum(file.stat().st_size for file in path.iterdir())
        prompts = (one.codec_config or {}).get("prompts") or {}
        words = {field["name"]: field["words"] for field in prompts.get("fields", ())}
        return {"id": name, "name": one.name, "kind": one.spec.kind, "card": one.info.get("card", ""),
                "licence": one.info.get("licence", ""), "precision": one.precision, "precisions": one.precisions,
                "parameters": one.lm.parameter_count(), "bytes": size, "n_q": one.spec.n_q, "words": words,
                "shipped": path.parent == BUNDLES, "sampling": one.info["sampling"],
                "plays": (one.info.get("codec") or {}).get("sample_rate") is not None or one.spec.kind != "audio"}
    except (UserError, OSError, KeyError, TypeError, AttributeError) as error:
        return {"id": name, "name": path.name, "problem": str(error)}


def instruments(workspace: Workspace) -> list[dict[str, Any]]:
    """What the page's own views have to know of the bundles that they can play, as its ``instruments.json``; of several
    with one name the first."""
    found: dict[str, dict[str, Any]] = {}
    for one in bundles(workspace):
        try:
            if "problem" not in one and one["name"] not in found:
                found[one["name"]] = instrument(workspace.bundle(one["id"])) | {"id": one["id"], "bytes": {}}
        except UserError:  # the page says which it cannot play; they are in the batches
            continue
    return list(found.values())


def stores(workspace: Workspace) -> list[dict[str, Any]]:
    """The token stores, also those that are not finished."""
    found = [*workspace.holding("store.json"), *workspace.holding("preparing.json")]
    return [_store(workspace, path) for path in dict.fromkeys(found)]


def _store(workspace: Workspace, path: Path) -> dict[str, Any]:
    about = {"id": workspace.called(path), "name": path.name, "finished": (path / "store.json").is_file(),
             "report": _called(workspace, path / "report.html"), "labels": (path / "labels.csv").is_file(),
             "source": _source(workspace, path)}
    if not about["finished"]:
        return about | {"problem": "it is not finished; the same preparation goes on"}
    try:
        return about | _in_store(path, (path / "store.json").stat().st_mtime_ns)
    except (UserError, OSError, KeyError) as error:
        return about | {"problem": str(error)}


@lru_cache(256)
def _in_store(path: Path, written: int) -> dict[str, Any]:
    """What is in a finished store; a large one takes a moment to open, so it is opened once."""
    store = TokenStore(path)
    rows = {split: sum(row["split"] == split for row in store.rows) for split in ("train", "valid")}
    return {"kind": store.spec.kind, "codec": store.spec.codec, "seconds": store.seconds, "rows": rows,
            "metronome": bool(store.spec.controls), "hash": store.hash[:8]}


def _source(workspace: Workspace, path: Path) -> str | None:
    """What the studio calls the folder that a store was made from, by its report; None of one that it does not open."""
    folder = json_or_empty(path / "report.json").get("folder")
    if not isinstance(folder, str):
        return None
    source = (ROOT / folder).resolve()
    if shipped := next((name for name, place in SHIPPED.items() if place == source), None):
        return f"shipped:{shipped}"
    return workspace.called(source) if source.is_relative_to(workspace.root) else None


def _called(workspace: Workspace, path: Path) -> str | None:
    return workspace.called(path) if path.is_file() else None


def runs(workspace: Workspace) -> list[dict[str, Any]]:
    """The runs that have said something of themselves, the newest first."""
    folders = [path.parent for path in (workspace.root / "outputs" / "xps").glob("*/status.json")]
    return [run(workspace, folder) for folder in sorted(folders, key=_touched, reverse=True)]


def _touched(folder: Path) -> float:
    try:
        return (folder / "status.json").stat().st_mtime
    except OSError:
        return 0.0


def run(workspace: Workspace, folder: Path, curve: bool = False) -> dict[str, Any]:
    """What is known of a run; with ``curve`` its losses and the clips that it has made so far."""
    row, settings = summary(folder), overrides(folder)
    about = {"id": workspace.called(folder), "sig": row.sig, "state": row.state, "step": row.step, "steps": row.steps,
             "train": row.train, "valid": row.valid, "best": row.best, "left_s": row.left_s, "took_s": row.took_s,
             "tokens_s": row.tokens_s, "error": row.error, "checkpoint": (folder / "checkpoint.th").is_file(),
             "settings": {key: str(value).strip("'") for key, value in settings.items()}, "touched": _touched(folder)}
    if not curve:
        return about
    points = read_curve(folder)
    samples = sorted((folder / "samples").glob("*"), key=lambda path: path.stat().st_mtime, reverse=True)
    return about | {"curve": {stage: points.get(stage, []) for stage in ("train", "valid")},
                    "samples": [{"name": path.name, "clips": sample_files(workspace, path)} for path in samples]}


def sample_files(workspace: Workspace, folder: Path) -> list[dict[str, Any]]:
    """The clips of one listening of a run: sounds, or of kinds without sound their own files."""
    found = sounds.clips(folder) or {n: path for n, path in enumerate(sorted(folder.glob("clip_*")))
                                     if path.suffix in MIDI}
    return [{"file": workspace.called(path), "plays": path.suffix in SOUND} for path in found.values()]


def clip_folders(workspace: Workspace) -> list[dict[str, Any]]:
    """The folders of ``clips/``, the newest first, each with how many clips it has."""
    top = workspace.root / "clips"
    folders = [path for path in top.iterdir() if path.is_dir()] if top.is_dir() else []
    return [{"id": path.name, "clips": sum(map(_is_sidecar, path.iterdir())),
             "touched": path.stat().st_mtime}
            for path in sorted(folders, key=lambda path: path.stat().st_mtime, reverse=True)]


def clips(workspace: Workspace, name: str) -> list[dict[str, Any]]:
    """The clips of a folder of ``clips/``: each JSON there with what lies beside it."""
    folder = workspace.place("clips", name)
    if not folder.is_dir():
        raise UserError(f"no clips are called {name[:40]!r} here")
    found = []
    for path in sorted(filter(_is_sidecar, folder.iterdir()), key=lambda path: (path.stat().st_mtime, path.name))[
            :MOST_CLIPS]:
        about = json_or_empty(path)
        recipe = about.get("recipe") if isinstance(about.get("recipe"), dict) else {}
        files = [path.with_name(path.stem + ending) for ending in (*SOUND, SONG, *MIDI)]
        found.append({"name": path.stem, "seed": str(recipe.get("seed", "")), "index": about.get("index"),
                      "bundle": recipe.get("bundle"), "bpm": recipe.get("bpm"),
                      "files": [workspace.called(file) for file in [*files, path] if file.is_file()]})
    return found


def files_of(path: Path) -> list[Path]:
    """What a clip's files may be, by its sidecar or its main file: what the sidecar says, and the usual ones."""
    said = json_or_empty(path.with_suffix(".json")).get("files")
    names = [Path(name).name for name in said if isinstance(name, str)] if isinstance(said, list) else []
    usual = (path.stem + ending for ending in (".wav", ".mid", ".png", ".json"))
    return [path.with_name(name) for name in dict.fromkeys([*filter(None, names), *usual])]


def _is_sidecar(path: Path) -> bool:
    """Whether it is a clip's JSON."""
    return path.suffix == ".json" and not path.name.endswith(SONG)
