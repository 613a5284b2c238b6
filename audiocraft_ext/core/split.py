"""Train or valid: decided by a source file's name alone, so that no file is ever in both splits."""

from __future__ import annotations

import hashlib

TRAIN, VALID = "train", "valid"


def number_of(name: str) -> float:
    """A number in 0..1 that depends on nothing but the name."""
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:8], "big") / 2**64


def split_of(name: str, valid_share: float) -> str:
    """The split of ``name`` (a path relative to its root, with forward slashes).

    Its number below ``valid_share`` is valid. Adding files to a folder never moves the others, and a larger share
    only ever moves files from train to valid.
    """
    return VALID if number_of(name) < valid_share else TRAIN
