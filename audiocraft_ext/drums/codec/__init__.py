"""The drum codec of a store or a bundle, from its codec config."""

from __future__ import annotations

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.drums.codec.grid import NAME as GRID
from audiocraft_ext.drums.codec.grid import DrumGrid

HITS = "drum_hits"
NAMES = (GRID, HITS)


def codec_of(config: dict):
    """The codec of ``{"type": "drum_grid" or "drum_hits", ...}``: a :class:`DrumGrid` or a :class:`DrumHits`.

    Raises:
        UserError: it is neither.
    """
    kind = config.get("type", GRID)
    if kind == HITS:
        from audiocraft_ext.drums.codec.hits import DrumHits

        return DrumHits.from_dict(config)
    if kind != GRID:
        raise UserError(f"expected the drum codec {' or '.join(NAMES)}, got {kind!r}")
    return DrumGrid.from_dict(config)
