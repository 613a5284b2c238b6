"""Which module knows what codes mean, by the ``kind`` of their spec: the one table that the shared parts look into.

The two ends of the house (what reads files into codes, and what makes files of them) are the only ones that know. A
kind without an entry is sound.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np

    from audiocraft_ext.spec import Spec
    from audiocraft_ext.store import TokenStore, Track

TRAINING = {"drums": "audiocraft_ext.drums.training"}  # see End
PLAYING = {"drums": "audiocraft_ext.drums.cli"}  # main(argv): what infer.py is for bundles of this kind


class View(Protocol):
    """How a model in training sees a store: each window with its prompt, and perhaps altered.

    Attributes:
        options: all of them, JSON values; a part of what a run is.
    """

    options: dict

    def window(self, track: Track, start: int, frames: int, rng: np.random.Generator | None) -> np.ndarray:
        """``codes [K, P + n]``, n up to ``frames``, of the window that begins with frame ``start`` of the track (or
        near it). Without random numbers: as it is in the store, with a prompt that says nothing."""


class End(Protocol):
    """The functions of a module in :data:`TRAINING`."""

    def view(self, store: TokenStore, options: dict) -> View | None:
        """Of a store; ``options`` are the config's ``dataset.view``. None: windows as they are, without prompts.

        Raises:
            UserError: an option that there is not.
        """

    def meaning(self, settings: dict) -> dict:
        """What a bundle has to know to make files of its codes, JSON values: from the settings of the store.
        ``type`` is the codec's name."""

    def silent_prompt(self, spec: Spec, meaning: dict) -> np.ndarray | None:
        """Codes ``[K, P]`` of a prompt that says nothing; None where there are no prompts."""

    def write_clips(self, codes: np.ndarray, spec: Spec, meaning: dict, folder: Path) -> list[tuple[np.ndarray, int]]:
        """Files ``clip_{i}.*`` of clips ``codes [B, K, P + T]``; the sound of each ``float32 [N]`` and its rate."""


def playing(kind: str) -> Callable[[list[str]], object] | None:
    """The command line of bundles of a kind; None for sound."""
    return import_module(PLAYING[kind]).main if kind in PLAYING else None


def training(kind: str) -> End | None:
    """The end for a model in training; None for sound."""
    return import_module(TRAINING[kind]) if kind in TRAINING else None
