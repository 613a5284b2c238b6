"""What stands beside a result so that it can be made again, whatever it is: its recipe, its codes as text, one JSON."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.files import read_json


class RecipeBase:
    """What the recipes of all kinds have in common; a subclass is a frozen dataclass of plain values.

    A field that ``compare`` leaves out is no part of what the result is, and of no dict.

    Attributes:
        OF: what is made, in a word.
        GOOD: whether a field's value can be, by the field's name.
        PARTS: what makes a field's value of its value in JSON, where that is another.
        ALWAYS: fields that the dict has even if they have their default.
    """

    OF: ClassVar[str]
    GOOD: ClassVar[dict[str, Callable[[Any], bool]]]
    PARTS: ClassVar[dict[str, Callable[[Any], Any]]]
    ALWAYS: ClassVar[tuple[str, ...]] = ("precision", "backend")

    def to_dict(self) -> dict[str, Any]:
        """For JSON; what has its default is left out."""
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self) if f.compare and (
            f.name in self.ALWAYS or getattr(self, f.name) != _default(f))}

    @classmethod
    def from_dict(cls, d: dict[str, Any]):
        """The inverse of :meth:`to_dict`.

        Raises:
            UserError: something is missing or not known.
        """
        try:
            if unknown := d.keys() - {f.name for f in fields(cls) if f.compare}:
                raise KeyError(", ".join(sorted(unknown)))
            recipe = cls(**d | {name: make(d[name]) for name, make in cls.PARTS.items() if name in d})
            if wrong := [name for name, good in cls.GOOD.items() if not good(getattr(recipe, name))]:
                raise TypeError(f"{wrong[0]} is {getattr(recipe, wrong[0])!r}")
            return recipe
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(f"not the recipe of a {cls.OF} ({error}); was it written by another version?") from None

    @cached_property
    def hash(self) -> str:
        """16 hex digits."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]


def _default(f: Field) -> Any:
    """MISSING, which is like nothing else, where there is none."""
    return f.default if f.default_factory is MISSING else f.default_factory()


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return value.to_dict() if hasattr(value, "to_dict") else dict(value) if isinstance(value, dict) else value


def read_record(path: Path, what: str, writer: str, format: str, version: int) -> dict[str, Any]:
    """The JSON that lies beside a result.

    Args:
        what: it is, such as "a clip's JSON".
        writer: who writes it, and where.
        format, version: what it has to say of itself.

    Raises:
        UserError: it cannot be read, is none, or of another version.
    """
    try:
        info = read_json(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except UserError:
        raise UserError(f"{path}: expected {what}, got something that is no JSON object") from None
    if info.get("format") != format:
        other = info.get("format")
        raise UserError(f"{path}: expected {what}, as {writer}"
                        + (f", got one of {other!r}" if isinstance(other, str) else ""))
    if info.get("version") != version:
        raise UserError(f"{path}: {what} of version {info.get('version')}, this reads version {version}")
    return info


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
