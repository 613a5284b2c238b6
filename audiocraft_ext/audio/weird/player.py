"""Weird chains played on an instrument: what a chain asks for, other clips, other models and sampling."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from audiocraft_ext.audio import metronome
from audiocraft_ext.audio.recipe import Recipe
from audiocraft_ext.audio.weird.chain import Chain, Context, Resample
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.packing import pack, unpack
from audiocraft_ext.core.spec import Spec
from audiocraft_ext.engine.bundle import LONGEST, Bundle, find_bundle
from audiocraft_ext.engine.engine import Engine
from audiocraft_ext.engine.sampling import Sampling


def with_chain(recipe: Recipe, weird: str, frames: int, spec: Spec,
               read: Callable[[str], np.ndarray]) -> tuple[Recipe, int]:
    """A recipe with a chain, checked without sampling, and with what the chain names.

    Args:
        frames: of the clip before the chain.
        read: another clip's codes ``[K, T]``, by its name.

    Returns:
        The recipe, and how many frames there are after the chain.
    """
    chain = Chain.parse(weird)
    clips: dict[str, str] = {}
    models: dict[str, str] = {}

    def other(name: str) -> np.ndarray:
        if name not in clips:
            clips[name] = pack(read(name))
        return unpack(clips[name])

    def model(name: str) -> tuple[Spec, Any]:
        bundle = Bundle(find_bundle(name))
        models[name] = bundle.hash[:16]
        return bundle.spec, None

    recipe = replace(recipe, weird=str(chain))

    def never(given: np.ndarray, seed: int) -> np.ndarray:
        raise AssertionError("a chain is checked without sampling")

    after = chain.check(frames, Context(spec, recipe.seed, 0, recipe.bpm, other, never, model))
    if spec.seconds(after) > LONGEST:
        raise UserError(f"the chain makes the clip {spec.seconds(after):.0f} s long, and one lasts at most "
                        f"{LONGEST} s")
    return replace(recipe, clips=clips, models=models), after


class ChainPlayer:
    """Plays the chains of recipes; other models are loaded when they are first needed.

    Args:
        threads: for the other models.
    """

    def __init__(self, threads: int | None = None):
        self._threads = threads
        self._models: dict[str, Engine] = {}
        self._lock = threading.Lock()

    def play(self, engine: Engine, recipe: Recipe, index: int, codes: np.ndarray) -> np.ndarray:
        """``codes [K, T]`` of clip ``index`` through the recipe's chain, ``[K, T']``."""
        def model(name: str) -> tuple[Spec, Resample]:
            other = self._model(name, recipe.models.get(name))
            return other.spec, resampler(other, index, other.bundle.sampling, recipe)

        context = Context(engine.spec, recipe.seed, index, recipe.bpm,
                          lambda name: unpack(recipe.clips.get(name, "")),
                          resampler(engine, index, recipe.sampling, recipe), model)
        return Chain.parse(recipe.weird).apply(codes, context)

    def _model(self, name: str, wanted: str | None) -> Engine:
        with self._lock:
            if name not in self._models:
                self._models[name] = Engine(Bundle(find_bundle(name)), threads=self._threads)
                self._models[name].bundle.verify()
            engine = self._models[name]
        if engine.bundle.hash[:16] != wanted:
            raise UserError(f"{name} is not the bundle {wanted} that the clip was made with")
        return engine


def resampler(engine: Engine, index: int, sampling: Sampling, recipe: Recipe) -> Resample:
    """How an engine fills in what is unknown of clip ``index``, in time where the recipe knows the tempo."""
    def resample(given: np.ndarray, seed: int) -> np.ndarray:
        T = given.shape[1]
        beat = metronome.codes(engine.lm_spec, T, recipe.bpm)
        guide = None if beat is None else recipe.guide
        return engine.generate([index], T, seed=seed, sampling=sampling, given=given, controls=beat, guide=guide)[0]

    return resample
