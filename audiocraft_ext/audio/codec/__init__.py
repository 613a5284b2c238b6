"""Codecs: sound to codes ``[K, T]`` and back. :func:`get_codec` finds one by name or folder.

Importing this package costs nothing; torch comes with the first codec.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from audiocraft_ext.core.errors import UserError

if TYPE_CHECKING:
    from audiocraft_ext.audio.codec.codec import Codec

CODECS = ("spectral", "microcodec", "encodec_32khz", "debug")
BUNDLES = Path(__file__).parents[2] / "bundles"
DEFAULT = "spectral"
# Of the codecs in this repository: the embedded bundle's, and the microcodec, which older models and stores are on.
SHIPPED = {"spectral": BUNDLES / "embedded", "microcodec": BUNDLES / "microcodec"}


def get_codec(name: str, path: str | Path | None = None) -> Codec:
    """The codec called ``name``, in torch on the CPU; ``.to(device)`` moves it.

    Args:
        name: ``spectral`` or ``microcodec`` (both in this repository, new and old), ``encodec_32khz`` (the public one),
            ``debug`` (tiny, random weights, for tests), or a folder: a bundle, what ``audiocraft_ext.codecs.train``
            wrote, or a local copy of ``facebook/encodec_32khz``.
        path: where the files of a named codec lie, if not in their usual place.

    Raises:
        UserError: an unknown name, or files that are missing or do not fit; the message says how to get them.
    """
    from audiocraft_ext.audio.codec import codec, encodec_32khz

    if path is not None and not Path(path).is_dir():
        raise UserError(f"codec {name}: no such folder: {path}")
    if name == "encodec_32khz":
        return encodec_32khz.load(path)
    if name == "debug":
        return codec.debug_codec()
    shipped = SHIPPED.get(name) if path is None else None
    if shipped and not shipped.is_dir():
        raise UserError(f"the codec {name} is missing: expected the folder {shipped}; get it with 'git checkout -- "
                        "audiocraft_ext/bundles', name another folder with --codec, or train one: python -m "
                        "audiocraft_ext.codecs.train")
    folder = Path(path or shipped or name)
    if not folder.is_dir():
        raise UserError(f"no codec {name!r}: expected one of {', '.join(CODECS)}, or a folder with codec.json "
                        "and codec.safetensors")
    return encodec_32khz.load(folder) if encodec_32khz.is_public_folder(folder) else codec.load_folder(folder)
