"""What a clip is a function of, besides its index: kept beside every clip, so that it can be made again (level 0)."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import numpy as np

from audiocraft_ext.errors import UserError
from audiocraft_ext.sampling import Sampling


@dataclass(frozen=True)
class Recipe:
    """Everything but the clip's index. What came from a file is in here as codes, not as the file's name.

    Attributes:
        bundle, bundle_hash: the instrument's name, and which one of that name (:attr:`Bundle.hash`, 16 digits).
        seed: with the index it decides all random numbers.
        samples: length at the bundle's own rate; of a source with a chain that changes its length, before the chain.
        precision, backend: of the LM; another one makes other clips.
        bpm, bars: None where nobody said.
        loop: the end leads into the start.
        prompt: packed codes that the clip begins with.
        source: packed codes that are played on instead of sampled ones.
        weird: a chain of tools (:mod:`audiocraft_ext.weird`), and what it names: packed codes of other clips, hashes
            of other bundles.
    """

    bundle: str
    bundle_hash: str
    seed: int
    samples: int
    sampling: Sampling
    precision: str = "fp32"
    backend: str = "onnx"
    bpm: float | None = None
    bars: float | None = None
    loop: bool = False
    prompt: str = ""
    source: str = ""
    weird: str = ""
    clips: dict[str, str] = field(default_factory=dict)
    models: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """For JSON; what has its default is left out."""
        bare = Recipe("", "", 0, 0, Sampling())
        out = asdict(replace(self, sampling=Sampling())) | {"sampling": self.sampling.to_dict()}
        kept = ("bundle", "bundle_hash", "seed", "samples", "sampling", "precision", "backend")
        return {name: value for name, value in out.items() if name in kept or value != getattr(bare, name)}

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> Recipe:
        """The inverse of :meth:`to_dict`.

        Raises:
            UserError: something is missing or not known.
        """
        try:
            unknown = d.keys() - {f.name for f in fields(cls)}
            if unknown:
                raise KeyError(", ".join(sorted(unknown)))
            recipe = cls(**d | {"sampling": Sampling.from_dict(d["sampling"])})
            wrong = [name for name, kind in _KINDS.items() if type(getattr(recipe, name)) not in kind]
            if wrong:
                raise TypeError(f"{wrong[0]} is {getattr(recipe, wrong[0])!r}")
            return recipe
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(f"not the recipe of a clip ({error}); was it written by another version?") from None

    @property
    def hash(self) -> str:
        """16 hex digits."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]


_TEXT, _NUMBER = (str,), (int, float, type(None))
_KINDS = {"bundle": _TEXT, "bundle_hash": _TEXT, "seed": (int,), "samples": (int,), "precision": _TEXT,
          "backend": _TEXT, "bpm": _NUMBER, "bars": _NUMBER, "loop": (bool,), "prompt": _TEXT, "source": _TEXT,
          "weird": _TEXT, "clips": (dict,), "models": (dict,)}


def pack(codes: np.ndarray) -> str:
    """``codes [K, T]`` as text: ``K:`` and base64 of little-endian uint16, frame by frame."""
    return f"{codes.shape[0]}:{base64.b64encode(np.ascontiguousarray(codes.T, '<u2').tobytes()).decode()}"


def unpack(text: str) -> np.ndarray:
    """The inverse of :func:`pack`, ``int64 [K, T]``.

    Raises:
        UserError: it is not what :func:`pack` writes.
    """
    try:
        n_q, _, data = text.partition(":")
        flat = np.frombuffer(base64.b64decode(data, validate=True), "<u2")
        return flat.reshape(-1, int(n_q)).T.astype(np.int64)
    except (ValueError, AttributeError):
        raise UserError(f"expected packed codes, got {str(text)[:40]!r}") from None
