"""The public ``facebook/encodec_32khz``: found on the disk or fetched, read without transformers.

Looked for, in this order: the folder that was named, ``$MICRO_MUSICGEN_ENCODEC``, the Hugging Face cache, the hub.
The folder holds ``config.json`` and ``model.safetensors`` (about 236 MB) as on
https://huggingface.co/facebook/encodec_32khz.
"""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from pathlib import Path

from audiocraft_ext.audio.codec.codec import Codec, build, file_hash
from audiocraft_ext.audio.codec.encodec import TRAINING_ONLY, EncodecConfig, fold_weight_norm
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.files import read_json
from audiocraft_ext.model.weights import plain_names, read_safetensors

NAME, REPO = "encodec_32khz", "facebook/encodec_32khz"
VARIABLE = "MICRO_MUSICGEN_ENCODEC"
CONFIG, WEIGHTS = "config.json", "model.safetensors"

# Ours by transformers' name of what changes the model, with transformers' default: a saved config may leave that out.
OURS = {
    "sampling_rate": ("sample_rate", 24_000), "num_filters": ("n_filters", 32),
    "upsampling_ratios": ("ratios", [8, 5, 4, 2]), "hidden_size": ("dimension", 128), "codebook_size": ("card", 1024),
    "kernel_size": ("kernel_size", 7), "last_kernel_size": ("last_kernel_size", 7),
    "residual_kernel_size": ("residual_kernel_size", 3), "num_residual_layers": ("n_residual_layers", 1),
    "dilation_growth_rate": ("dilation_base", 2), "compress": ("compress", 2), "num_lstm_layers": ("lstm", 2),
    "pad_mode": ("pad_mode", "reflect"),
}
# What must have one value, with transformers' default.
FIXED = {
    "model_type": ("encodec", "encodec"), "audio_channels": (1, 1), "normalize": (False, False),
    "use_causal_conv": (False, True), "use_conv_shortcut": (False, True), "norm_type": ("weight_norm", "weight_norm"),
    "chunk_length_s": (None, None), "trim_right_ratio": (1.0, 1.0),
}


def is_public_folder(folder: Path) -> bool:
    return (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file()


def load(folder: str | Path | None = None) -> Codec:
    """Read the codec from ``folder``, or from wherever it is found.

    Raises:
        UserError: it is not there and cannot be fetched, or it is another model than this reader knows.
    """
    folder = find(folder)
    config = read_json(folder / CONFIG)
    state = fold_weight_norm({name: value for name, value in plain_names(read_safetensors(folder / WEIGHTS)).items()
                              if name.rsplit(".", 1)[-1] not in TRAINING_ONLY})
    n_q = sum(name.endswith(".codebook.embed") for name in state)
    return Codec(NAME, build(read_config(config, n_q, folder / CONFIG), state, folder / WEIGHTS),
                 file_hash(folder / WEIGHTS))


def read_config(config: dict, n_q: int, path: Path) -> EncodecConfig:
    """transformers' ``config.json`` as ours; what our model does not do is refused by name."""
    for key, (value, default) in FIXED.items():
        if config.get(key, default) != value:
            raise UserError(f"{path}: expected {key}={value!r} as in {REPO}, got {config.get(key, default)!r}")
    ours = {name: config.get(key, default) for key, (name, default) in OURS.items()}
    if config.get("codebook_dim") not in (None, ours["dimension"]):
        raise UserError(f"{path}: expected codebook_dim={ours['dimension']} (its hidden_size), "
                        f"got {config['codebook_dim']}")
    if ours["pad_mode"] not in ("reflect", "constant"):
        raise UserError(f"{path}: expected pad_mode 'reflect' or 'constant', got {ours['pad_mode']!r}")
    return EncodecConfig(**ours, n_q=n_q)


def find(folder: str | Path | None = None) -> Path:
    """The folder that holds the two files."""
    named = folder or os.environ.get(VARIABLE)
    if named:
        if not is_public_folder(Path(named)):
            source = "--codec-path" if folder else f"${VARIABLE}"
            raise UserError(f"{named} ({source}): expected a folder with {CONFIG} and {WEIGHTS} of {REPO}")
        return Path(named)
    return _find_in_cache() or _download()


def _find_in_cache() -> Path | None:
    """The newest whole snapshot in the Hugging Face cache, ``main`` first."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "huggingface"
    home = Path(os.environ.get("HF_HOME") or cache).expanduser()
    repo = Path(os.environ.get("HF_HUB_CACHE") or home / "hub").expanduser() / f"models--{REPO.replace('/', '--')}"
    snapshots = sorted(repo.glob("snapshots/*"), key=lambda p: p.stat().st_mtime, reverse=True)
    main = repo / "refs" / "main"
    if main.is_file():
        snapshots.insert(0, repo / "snapshots" / main.read_text().strip())
    return next((s for s in snapshots if is_public_folder(s)), None)


def _download() -> Path:
    """Fetch both files into the cache."""
    try:
        _reach_hub()
        from huggingface_hub import hf_hub_download

        return Path([hf_hub_download(REPO, name) for name in (CONFIG, WEIGHTS)][-1]).parent
    except Exception as error:  # the hub's client raises many kinds, none of which more can be done about
        reason = str(getattr(error, "reason", error)).strip().partition("\n")[0] or type(error).__name__
        raise UserError(f"{REPO} is not on this machine and could not be fetched ({reason}). Put {CONFIG} and "
                        f"{WEIGHTS} from https://huggingface.co/{REPO} into a folder and name it with --codec-path or "
                        f"${VARIABLE}, or use the codec that comes with this repository: --codec microcodec") from None


def _reach_hub() -> None:
    """Fail at once where there is no network: the hub's client tries again for half a minute."""
    hub = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    try:
        urllib.request.urlopen(urllib.request.Request(hub, method="HEAD"), timeout=10).close()
    except urllib.error.HTTPError:
        pass  # there is somebody
