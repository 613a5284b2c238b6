"""A third kind of codes, for tests: letters, whose clips are text files. All that a kind is, in one module."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from audiocraft_ext import kinds
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.spec import Spec
from audiocraft_ext.engine.bundle import Bundle, find_bundle
from audiocraft_ext.engine.engine import Engine
from audiocraft_ext.engine.sampling import Sampling
from audiocraft_ext.export.sources import Trained
from audiocraft_ext.kinds import Modules
from audiocraft_ext.model.lm import LM, LMConfig
from audiocraft_ext.store.reader import TokenStore, Track

NAME = "letters"
MODULES = Modules(__name__, f"{__name__}:Writer", __name__)  # its line in the table
CONFIG = {"type": "alphabet", "letters": "abcdefgh"}
SPEC = Spec(NAME, 2, 9, 4.0, (0, 1), "alphabet", "1", sizes=(8, 8), prompt=1)


@pytest.fixture(scope="module", autouse=True)
def kind_called_test() -> Iterator[None]:
    """For a module of tests that imports it: codes of the kind ``test`` are codes of this one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(kinds.KINDS, "test", MODULES)
        yield


def trained() -> Trained:
    """A model with random weights."""
    cfg = LMConfig(n_q=SPEC.n_q, card=SPEC.card, dim=16, num_heads=2, num_layers=1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state = LM(cfg, SPEC.delays, SPEC.sizes).state_dict()
    return Trained(SPEC, cfg, state, load_codec(SPEC, CONFIG), 40, codec_config=CONFIG)


# What training and export ask

class View:
    """Windows as they are, after a null prompt."""

    def __init__(self, store: TokenStore):
        self.store, self.options = store, {}

    def window(self, track: Track, start: int, frames: int, rng: np.random.Generator | None) -> np.ndarray:
        codes = self.store.read(start, min(frames, track.start + track.frames - start))
        return np.concatenate([null_prompt(SPEC, CONFIG), codes], axis=1)


def view(store: TokenStore, options: dict) -> View:
    return View(store)


def codec_config(store: TokenStore) -> dict:
    return CONFIG


def load_codec(spec: Spec, codec_config: dict | None, name: str | None = None, bundle: Path | None = None) -> str:
    return (codec_config or {}).get("letters", "")


def codec_licence(codec: str, places: Sequence[str | None]) -> str:
    return "CC0-1.0"


def bundle_parts(folder: Path, model: Trained, half: bool, licence: str) -> dict | None:
    if model.codec:
        (folder / "alphabet.txt").write_text(model.codec)
    return model.codec_config


def export_note(model: Trained) -> str:
    return "note: these are letters"


def judge(store: TokenStore) -> None:
    """Raises a :class:`UserError`: the loss decides which state is the best."""
    raise UserError("clips of this kind are not judged by how they sound; leave generate.judge.every empty")


def controls(spec: Spec, codec_config: dict | None, frames: int) -> None:
    """There are none."""


def null_prompt(spec: Spec, codec_config: dict | None) -> np.ndarray:
    return np.full((spec.n_q, 1), 8)


def write_samples(codes: np.ndarray, spec: Spec, codec_config: dict, folder: Path, seed: int,
                  warn) -> list[tuple[np.ndarray, int]]:
    for i, clip in enumerate(codes):
        (folder / f"clip_{i}.txt").write_text(text_of(clip[:, 1:], codec_config["letters"]))
    return []


def text_of(codes: np.ndarray, letters: str) -> str:
    return "".join(letters[code] for code in codes.T.reshape(-1))


# The player

@dataclass(frozen=True)
class Text:
    """A clip."""

    index: int
    codes: np.ndarray
    text: str


class Writer:
    """Plays codes as letters."""

    def __init__(self, bundle: Bundle, say=lambda text: None, **options: Any):
        self.bundle, self.engine, self.letters = bundle, Engine(bundle, **options), bundle.codec_config["letters"]

    @classmethod
    def load(cls, path: str | Path, **options: Any) -> Writer:
        return cls(Bundle(find_bundle(path)), **options)

    def recipe(self, frames: int = 20, *, seed: int = 0, **sampling: Any) -> dict:
        return {"frames": frames, "seed": seed, "sampling": Sampling(**sampling)}

    def play(self, recipe: dict, indices: Sequence[int], progress=lambda done: None) -> Iterator[Text]:
        for index in indices:
            codes = np.concatenate(list(self._pieces(recipe, index)), axis=-1)[:, 1:]
            yield Text(index, codes, text_of(codes, self.letters))
            progress(1)

    def stream(self, recipe: dict, index: int = 0) -> Iterator[np.ndarray]:
        yield from self._pieces(recipe, index)

    def save(self, clip: Text, folder: str | Path = ".", output: Any = None) -> list[Path]:
        path = Path(folder) / f"{self.bundle.name}_{clip.index}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(clip.text)
        return [path]

    def _pieces(self, recipe: dict, index: int) -> Iterator[np.ndarray]:
        for piece in self.engine.stream([index], 1 + recipe["frames"], seed=recipe["seed"],
                                        sampling=recipe["sampling"],
                                        given=null_prompt(self.bundle.spec, None)):
            yield piece[0]


# The command line

def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="infer.py letters")
    parser.add_argument("bundle")
    parser.add_argument("-o", default="out")
    parser.add_argument("--frames", type=int, default=20)
    return parser


def main(argv: list[str]) -> None:
    args = build_parser().parse_args(argv)
    writer = Writer.load(args.bundle, threads=1)
    for clip in writer.play(writer.recipe(args.frames), range(1)):
        print(*writer.save(clip, args.o), file=sys.stdout)
