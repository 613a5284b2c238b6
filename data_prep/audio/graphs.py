"""A codec's encoder as files that ONNX Runtime opens in many processes: two graphs and the weights, in one folder."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from audiocraft_ext.audio.codec.codec import Codec

VERSION = 4  # of the graphs; a folder of another one is left alone
FEATURES, CODE, WEIGHTS = "features.onnx", "code.onnx", "codec.safetensors"


def written(codec: Codec, cache: Path) -> Path:
    """The folder of the codec's graphs, written aside and renamed. It is named by what is in it: a bundle's copy of a
    codec in fewer bits has the hash of the one that it is a copy of.

    Raises:
        OSError: it cannot be written.
    """
    from audiocraft_ext.audio.codec.layout import to_onnx
    from audiocraft_ext.audio.codec.onnx import write_streaming_encoder
    from audiocraft_ext.model.weights import write_safetensors

    cfg = codec.model.cfg
    weights = {name: tensor.detach().cpu().float().contiguous() for name, tensor in
               to_onnx(codec.model.state_dict()).items() if not name.startswith("decoder.")}
    digest = hashlib.sha256(json.dumps([VERSION, cfg.to_dict()], sort_keys=True).encode())
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(weights[name].numpy())
    folder = cache / f"{codec.name}-{digest.hexdigest()[:16]}"
    if _whole(folder):
        return folder
    aside = folder.with_name(f"{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir(parents=True)
        write_safetensors(weights, aside / WEIGHTS)
        write_streaming_encoder(cfg, aside / WEIGHTS, aside / FEATURES, aside / CODE)
        for path in aside.iterdir():
            with path.open("rb") as f:
                os.fsync(f.fileno())
        if not _whole(folder):  # a file of it was deleted; a folder that holds something is not renamed over
            shutil.rmtree(folder, ignore_errors=True)
        os.rename(aside, folder)
    except OSError:
        if not _whole(folder):  # else another process was quicker
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return folder


def _whole(folder: Path) -> bool:
    return all((folder / name).is_file() for name in (FEATURES, CODE, WEIGHTS))
