"""The codec of notes of a store or a bundle, from its codec config."""

from __future__ import annotations

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.notes.codec.multitrack import NAME, Multitrack


def codec_of(config: dict) -> Multitrack:
    """The codec of ``{"type": "notes", "division": ...}``.

    Raises:
        UserError: it is another one.
    """
    if config.get("type") != NAME:
        raise UserError(f"expected the codec {NAME}, got {config.get('type')!r}")
    return Multitrack.from_dict(config)
