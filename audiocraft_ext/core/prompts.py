"""Prompts of words, as codes: a few frames before a clip, made of codes that its streams never take.

Each field (a genre, a tempo, ...) has a stream of a prompt frame to itself, and there the code of one of its words, or
of no word. So a model needs no conditioners: it reads the prompt as it reads all codes. A clip can never contain such a
code, for none is ever predicted (``Spec.sizes``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.spec import Spec


@dataclass(frozen=True)
class Field:
    """One property of a clip: its ``name`` and its possible words; the place of a word in the list is its code."""

    name: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class Prompts:
    """The prompts of one kind of clip.

    Attributes:
        fields: in the order of their streams, frame by frame.
        first: the code of a field without a word; those of words follow it. No stream takes as large a code itself.
        n_q: K, streams of a frame.
    """

    fields: tuple[Field, ...]
    first: int
    n_q: int

    @property
    def frames(self) -> int:
        """P, how many frames a prompt has."""
        return -(-len(self.fields) // self.n_q)

    @property
    def card(self) -> int:
        """That of streams and prompts together."""
        return self.first + 1 + max((len(field.words) for field in self.fields), default=0)

    @cached_property
    def words(self) -> dict[str, tuple[str, ...]]:
        """Of each field."""
        return {field.name: field.words for field in self.fields}

    def codes(self, words: Mapping[str, str | None]) -> np.ndarray:
        """``int64 [K, P]`` of a word for some of the fields.

        Raises:
            UserError: no such field or word; those there are are listed.
        """
        for name, word in words.items():
            if name not in self.words:
                raise UserError(f"no prompt is called {name!r}; there are {', '.join(self.words) or 'none'}")
            if word is not None and word not in self.words[name]:
                raise UserError(f"{name}: expected one of {', '.join(self.words[name]) or 'none'}, got {word!r}")
        codes = np.full(self.frames * self.n_q, self.first, np.int64)
        for i, field in enumerate(self.fields):
            if (word := words.get(field.name)) is not None:
                codes[i] += 1 + field.words.index(word)
        return codes.reshape(self.frames, self.n_q).T

    def decode(self, codes: np.ndarray) -> dict[str, str]:
        """The inverse of :meth:`codes`, of ``[K, P]``."""
        flat = np.asarray(codes).T.reshape(-1) - self.first - 1
        return {field.name: field.words[i] for field, i in zip(self.fields, flat.tolist()) if i >= 0}

    def extend(self, spec: Spec) -> Spec:
        """``spec`` with room for these prompts."""
        sizes = spec.sizes or (spec.card,) * spec.n_q
        return replace(spec, card=max(spec.card, self.card), sizes=sizes, prompt=self.frames)

    def to_dict(self) -> dict:
        """JSON values."""
        return {"first": self.first, "n_q": self.n_q,
                "fields": [{"name": field.name, "words": list(field.words)} for field in self.fields]}

    @classmethod
    def from_dict(cls, values: Mapping) -> Prompts:
        """Raises a :class:`UserError` where the values are none."""
        try:
            return cls(tuple(Field(str(one["name"]), tuple(map(str, one["words"]))) for one in values["fields"]),
                       int(values["first"]), int(values["n_q"]))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"not the prompts of a model: {error!r} in {values}") from None


def prompts_of(config: Mapping) -> Prompts | None:
    """The prompts of a codec config or a store's settings; None for a model that was trained without prompts."""
    return Prompts.from_dict(config["prompts"]) if config.get("prompts") else None
