"""Clips: one at once for the page's own views, and batches of hundreds as jobs of ``infer.py``."""

from __future__ import annotations

import base64
import json
import re
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from audiocraft_ext import kinds
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.files import make_folder
from audiocraft_ext.engine.bundle import Bundle, list_bundles
from audiocraft_ext.midi import names
from audiocraft_ext.studio import library
from audiocraft_ext.studio.jobs import Jobs
from audiocraft_ext.studio.workspace import Workspace, choice, number

KEPT = "kept"  # the folder of clips/ that the page's "Keep" writes to
LONGEST_S, MOST = 600, 10_000
ASKED = {"drums": ("genre", "kind", "density", "intensity", "swing"), "notes": ("density", "polyphony", "register"),
         "song": ("channels", "drums", "rhythm", "beats")}  # options that take a word of the model's prompts, by kind
KEYS = tuple("C C# D D# E F F# G G# A A# B".split())
OPENED = 3  # bundles that stay in memory
MODEL, OTHER = re.compile(r"(\bmodel\s*=\s*)([^,;]+)"), re.compile(r"(\bwith\s*=\s*)([^,;]+)")


class Stopped(Exception):
    """Whoever asked for a clip has left."""


class Maker:
    """Plays the recipes that the page puts together; one clip at a time, as on the page."""

    def __init__(self, workspace: Workspace):
        self.workspace = workspace
        self._players: OrderedDict[str, kinds.Player] = OrderedDict()
        self._lock = threading.Lock()

    def player(self, recipe: dict[str, Any]) -> kinds.Player:
        """What plays a recipe: the bundle of its name and hash, in its precision.

        Raises:
            UserError: there is none, or it is damaged.
        """
        name, digest, precision = (recipe.get(key) for key in ("bundle", "bundle_hash", "precision"))
        for bundle in self._called(name):
            if bundle.hash[:16] == digest:
                return self._opened(bundle, precision)
        raise UserError(f"the bundle {str(name)[:40]} {str(digest)[:16]} is not here any more; load the page again")

    def _called(self, name: Any) -> Iterator[Bundle]:
        return (self.workspace.bundle(one["id"]) for one in library.bundles(self.workspace)
                if one["name"] == name and "problem" not in one)

    def _opened(self, bundle: Bundle, precision: str | None = None) -> kinds.Player:
        key = f"{bundle.path} {bundle.hash} {precision or bundle.precision}"
        if key not in self._players:
            self._players[key] = kinds.player(bundle.path, precision=precision)
            while len(self._players) > OPENED:
                self._players.popitem(last=False)
        self._players.move_to_end(key)
        return self._players[key]

    def encode(self, name: str | None, data: bytes) -> dict[str, Any]:
        """The codes of a sound: little-endian float32, mono, at the rate of the bundle of this name."""
        wav = np.frombuffer(data[: len(data) // 4 * 4], "<f4").astype(np.float32)
        if not len(wav) or not np.isfinite(wav).all():
            raise UserError("expected sound as float32 samples")
        with self._lock:
            bundle = next(self._called(name), None)
            if bundle is None:
                raise UserError(f"the bundle {str(name)[:40]} is not here any more; load the page again")
            engine = self._opened(bundle).engine
            if not hasattr(engine, "encode"):
                raise UserError(f"{bundle.name} plays no sound, so it cannot begin with one")
            codes = engine.encode(wav[None, None])[0]
            bundle.verify()
            return {"codes": codes.tolist()}

    def clip(self, asked: dict[str, Any], progress: Callable[[float], object]) -> tuple[kinds.Player, Any]:
        """The clip that a client asked for, and what made it; ``asked`` has ``recipe`` and ``index``.

        Raises:
            UserError: it cannot be.
        """
        given, index = asked.get("recipe"), asked.get("index", 0)
        if not isinstance(given, dict) or not isinstance(index, int) or not 0 <= index < 2**31:
            raise UserError("expected a recipe and the index of a clip")
        with self._lock:
            player = self.player(given)
            recipe = player.RECIPE.from_dict(given)
            rate = getattr(player.bundle, "sample_rate", None)
            if rate and recipe.samples > LONGEST_S * rate:
                raise UserError(f"a clip lasts at most {LONGEST_S} s here; make longer ones as a batch")
            check_chain(self.workspace, getattr(recipe, "weird", ""))
            clip = next(player.play(recipe, [index], progress))
            player.bundle.verify()
            return player, clip

    def answer(self, asked: dict[str, Any], stopped: threading.Event) -> Iterator[str]:
        """Lines of JSON for the page: ``{"progress": 0.5}``, ``{"codes": ..., "wav": base64}``, ``{"done": true}`` or
        ``{"error": "..."}``."""
        lines: SimpleQueue[dict | None] = SimpleQueue()

        def progress(done: float) -> None:
            if stopped.is_set():
                raise Stopped
            lines.put({"progress": round(done, 3)})

        def work() -> None:
            try:
                clip = self.clip(asked, progress)[1]
                wav = getattr(clip, "wav", None)
                sound = None if wav is None else base64.b64encode(np.asarray(wav, "<f4").tobytes()).decode()
                about = getattr(clip, "about", None) or {}
                lines.put({"codes": clip.codes.tolist(), "wav": sound, "about": about})
                lines.put({"done": True})
            except UserError as error:
                lines.put({"error": str(error)})
            except Stopped:
                lines.put({"done": True})
            except Exception as error:  # it is the page that waits for a word
                lines.put({"error": f"this clip could not be made: {type(error).__name__}: {error}"})
            lines.put(None)

        threading.Thread(target=work, daemon=True).start()
        while (line := lines.get()) is not None:
            yield json.dumps(line) + "\n"

    def keep(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Write a clip of the page into ``clips/kept``."""
        player, clip = self.clip(asked, lambda done: None)
        folder = self.workspace.place("clips", KEPT)
        make_folder(folder)
        return {"files": [self.workspace.called(path) for path in player.save(clip, folder)]}


def check_chain(workspace: Workspace, chain: str) -> str:
    """A chain of weird tools in which what is named lies in the workspace, or ships; returned with whole paths."""
    def model(found: re.Match) -> str:
        name = found[2].strip()
        return found[1] + (name if name in list_bundles() else str(workspace.bundle_path(name)))

    def other(found: re.Match) -> str:
        path = workspace.path(found[2].strip())
        if not path.is_file():
            raise UserError(f"weird: with={found[2].strip()}: no such clip in the workspace")
        return found[1] + str(path)

    if not isinstance(chain, str):
        raise UserError("weird: expected a chain of tools, as docs/WEIRD.md has them")
    return OTHER.sub(other, MODEL.sub(model, chain))


def batch(workspace: Workspace, jobs: Jobs, given: dict[str, Any]) -> dict:
    """Start a batch: ``infer.py`` writes it into ``clips/NAME``; stopped, it goes on where it was.

    Raises:
        UserError: what cannot be; what only the bundle knows ``infer.py`` says itself, in the job's error.
    """
    called = given.get("bundle")
    bundle = workspace.bundle(called)
    n = number(given, "n", 1, MOST, whole=True) or 1
    seed = _seed(given.get("seed"))
    name = given.get("name") or f"{bundle.name}-{seed}"
    folder = workspace.place("clips", name)
    command = ["infer.py", str(bundle.path), "-n", str(n), "-o", str(folder), "--seed", str(seed)]
    command += [word for words in _options(workspace, bundle, given) for word in words]
    return jobs.start("make", f"{n} clips of {bundle.name}", command, folder=name, n=n, seed=str(seed))


def _seed(value: Any) -> int:
    """A seed as text, for a JavaScript number has 53 bits only; drawn where there is none, so that a batch goes on."""
    text = str(value if value is not None else "").strip()
    if not text:
        return secrets.randbelow(2**32)
    if not (text.isascii() and text.isdigit() and int(text[:30]) < 2**64):
        raise UserError(f"a seed is a whole number from 0 to 2^64 - 1, got {text[:40]!r}")
    return int(text)


def _options(workspace: Workspace, bundle: Any, given: dict[str, Any]) -> Iterator[list[str]]:
    """What was asked for, as ``infer.py`` takes it, an option at a time."""
    audio = bundle.spec.kind == "audio"
    for name, low, high in (("bpm", 20, 400), ("temperature", 0, 10), ("min_p", 0, 1)):
        if (value := number(given, name, low, high)) is not None:
            yield [f"--{name.replace('_', '-')}", f"{value:g}"]
    if (bars := number(given, "bars", 0.25, 1024, whole=not audio)) is not None:
        yield ["--bars", f"{bars:g}"]
    elif audio and (seconds := number(given, "seconds", 0.1, 3600)) is not None:
        yield ["-d", f"{seconds:g}"]
    if precision := choice(given, "precision", bundle.precisions):
        yield ["--precision", precision]
    if audio:
        yield from _sound_options(workspace, given)
    else:
        yield from _word_options(bundle, given)


def _word_options(bundle: Any, given: dict[str, Any]) -> Iterator[list[str]]:
    """The words of a model's prompts, and what its command line has beside them."""
    prompts = (bundle.codec_config or {}).get("prompts") or {}
    words = {field["name"]: field["words"] for field in prompts.get("fields", ())}
    for name in ASKED[bundle.spec.kind]:
        if word := choice(given, name, words.get(name, ())):
            yield [f"--{name}", word]
    if bundle.spec.kind == "notes" and given.get("parts"):
        asked = str(given["parts"]).replace(" ", "").split(",")
        parts = (choice({"parts": part}, "parts", names.INSTRUMENTS) for part in asked)
        yield ["--parts", ",".join(filter(None, parts))]
    if bundle.spec.kind == "song" and (key := choice(given, "key", KEYS)):
        yield ["--key", key]
    yield ["--wav"]


def _sound_options(workspace: Workspace, given: dict[str, Any]) -> Iterator[list[str]]:
    if given.get("loop") is True:
        yield ["--loop"]
    if (lufs := number(given, "lufs", -40, -5)) is not None:
        yield [f"--lufs={lufs:g}"]
    if given.get("weird"):
        yield [f"--weird={check_chain(workspace, given['weird'])}"]
    if given.get("prompt"):
        path: Path = workspace.path(given["prompt"])
        if not path.is_file():
            raise UserError(f"prompt: {given['prompt']}: no such file in the workspace")
        yield ["--prompt", str(path)]
