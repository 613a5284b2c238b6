"""audiocraft 1.3.0 on a current stack: ``import audiocraft_ext.compat`` before any other audiocraft import (L3).

audiocraft pins packages that do not install any more, so it is installed without its dependencies. Importing this
module imports audiocraft, after it has put right, and only where the real thing is absent or does not work,

- xformers: two names of it are replaced, since audiocraft imports it even where it computes attention in torch;
- spacy: imported by audiocraft for one text tokenizer; a stand-in raises an error when that tokenizer is made;
- torchaudio: its compiled part, which is linked against CUDA, is left out on a torch without CUDA; load and save go
  through soundfile where torchcodec is absent;
- ffmpeg: audiocraft pipes all audio that it writes through the program; soundfile writes it instead;

and it mends two things in audiocraft: an unconditional checkpoint loads, and checkpoints with an OmegaConf config load
under torch's ``weights_only=True``. What is there and works is used as it is; transformers, librosa and audiocraft's
own metrics, which training on codes does not use, are imported once they are used. `status` says what was done.
"""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import shutil
import sys
import types
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from audiocraft_ext.core.errors import UserError

status: dict[str, str] = {}
"""What audiocraft asks for -> 'real', or what stands in for it."""


class MissingPackage(UserError, ImportError):
    """Something was used that needs a package which is absent or does not import."""


def _why_not(name: str, *attributes: str) -> str | None:
    """Import ``name`` and look for ``attributes``: None if all is well, else why not, to follow "the package 'x', "."""
    root = name.partition(".")[0]
    try:
        module = importlib.import_module(name)
        for attribute in attributes:
            getattr(module, attribute)
        return None
    except Exception as error:  # a package built for another torch may raise anything, OSError from its library first
        if isinstance(error, ModuleNotFoundError) and error.name == root:
            return f"which is not installed: pip install {root}"
        words = str(error).partition("\n")[0]
        return f"which is installed but does not work ({type(error).__name__}: {words})"


def _stub(name: str, **attributes: Any) -> types.ModuleType:
    """A module in ``sys.modules`` that holds ``attributes``.

    Where a real one failed to import, this replaces it, and what it left behind is removed. The stub has a spec, as
    importlib.util.find_spec raises for a module without one, and an empty path, so that the import of any further
    submodule fails as it does when the package is absent.
    """
    for left in [other for other in sys.modules if other == name or other.startswith(f"{name}.")]:
        del sys.modules[left]
    module = types.ModuleType(name, "Stands in for an absent package; see audiocraft_ext.compat.")
    module.__spec__ = ModuleSpec(name, loader=None, is_package=True)
    module.__path__ = []
    module.__dict__.update(attributes)
    sys.modules[name] = module
    return module


# --- xformers -------------------------------------------------------------------------------------------------------
# modules/transformer.py imports it at the top and uses ops.unbind in every attention. With memory_efficient it also
# looks up memory_efficient_attention (called by the backend "xformers" only) and makes a LowerTriangularMask(), of
# which the backend "torch" merely asks whether it is None.

class LowerTriangularMask:
    """Says "causal"; torch's attention is told so by a flag and reads nothing from this."""


def _xformers() -> None:
    why = _why_not("xformers.ops", "unbind", "LowerTriangularMask", "memory_efficient_attention")
    if why is None:
        status["xformers"] = "real"
        return

    def memory_efficient_attention(*args: Any, **kwargs: Any) -> torch.Tensor:
        raise MissingPackage(f"the attention backend 'xformers' needs the package 'xformers', {why}; "
                             "or set efficient_attention_backend=torch")

    package = _stub("xformers")
    package.ops = _stub("xformers.ops", unbind=torch.unbind, LowerTriangularMask=LowerTriangularMask,
                        memory_efficient_attention=memory_efficient_attention)
    status["xformers"] = "replaced by torch's own attention"


# --- spacy ----------------------------------------------------------------------------------------------------------
# modules/conditioners.py imports it at the top, for WhiteSpaceTokenizer alone (a text conditioner with lookup tables).

class _Spacy(types.ModuleType):
    """What audiocraft holds as its ``spacy``; any use of it is an error that names the package."""

    def __init__(self, why: str) -> None:
        super().__init__("spacy", "Stands in for an absent package; see audiocraft_ext.compat.")
        self.__spec__ = ModuleSpec("spacy", loader=None)
        self._why = why

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # importlib and inspect ask for such names and expect AttributeError
            raise AttributeError(name)
        raise MissingPackage(f"this text tokenizer (spacy.{name}) needs the package 'spacy', {self._why}")


def _spacy() -> None:
    why = _why_not("spacy")
    if why is None:
        status["spacy"] = "real"
    else:
        sys.modules["spacy"] = _Spacy(why)
        status["spacy"] = "absent: the text tokenizer that splits words raises an error"


# --- torchaudio -----------------------------------------------------------------------------------------------------
# audiocraft uses its spectrograms, Resample and Loudness. All are Python and need no compiled code, but the package
# loads its library when it is imported, and on a torch without CUDA that library does not load.

def _torchaudio() -> None:
    why = _why_not("torchaudio")
    if why is None:
        status["torchaudio"] = "real"
    else:
        loader = sys.modules.get("torchaudio._extension.utils")  # the failed import leaves it behind, and it is reused
        if loader is None:
            raise MissingPackage(f"audiocraft needs the package 'torchaudio', {why}")
        loader._load_lib = lambda name: False  # torchaudio's own word for "built without"
        tools = sys.modules["torchaudio._internal.module_utils"]
        available = tools.is_module_available  # asked by versions up to 2.8, before _load_lib
        tools.is_module_available = lambda *names: (not any(name.startswith("torchaudio.lib") for name in names)
                                                    and available(*names))
        still = _why_not("torchaudio")
        if still is not None:
            raise MissingPackage(f"audiocraft needs the package 'torchaudio', {still}")
        for name in [name for name in sys.modules if name.startswith("torchaudio.")]:  # left ones lack their parent
            parent, _, child = name.rpartition(".")
            setattr(sys.modules[parent], child, sys.modules[name])
        _quick_filters()
        status["torchaudio"] = "without its compiled part"
    import torchaudio

    if hasattr(torchaudio, "load_with_torchcodec") and _why_not("torchcodec.decoders") is not None:
        torchaudio.load, torchaudio.save = _load, _save
        status["torchaudio"] += "; loads and saves through soundfile, not torchcodec"


def _quick_filters() -> None:
    """Recursive filters through scipy (which librosa brings): torchaudio's fallback is a Python loop over the samples.

    Loudness normalisation, audiocraft's default for the clips it generates, then takes 10 ms and not 16 s for 10 s.
    """
    from torchaudio.functional import filtering

    def core(waveform: torch.Tensor, a_flipped: torch.Tensor, padded: torch.Tensor) -> None:
        """waveform [B, C, N] through 1 / a (a_flipped [C, order], last one 1), into padded [B, C, order - 1 + N]."""
        import scipy.signal  # half a second that training does not need

        for channel, a in enumerate(a_flipped.detach().flip(1).cpu().numpy()):
            y = scipy.signal.lfilter([1.0], a, waveform[:, channel].detach().cpu().numpy(), axis=-1)
            padded[:, channel, a_flipped.shape[1] - 1:] = torch.from_numpy(y)

    for name in ("_lfilter_core_loop", "_lfilter_core_cpu_loop"):  # the name since 2.9, the name before
        if hasattr(filtering, name):
            setattr(filtering, name, core)


def _load(uri: Any, frame_offset: int = 0, num_frames: int = -1, normalize: bool = True, channels_first: bool = True,
          format: str | None = None, **ignored: Any) -> tuple[torch.Tensor, int]:
    """``torchaudio.load``: samples [C, N] (or [N, C]) in -1..1 as float32, and the sample rate."""
    import soundfile

    wav, sample_rate = soundfile.read(uri, frames=num_frames, start=frame_offset, dtype="float32", always_2d=True)
    wav = torch.from_numpy(wav)  # [N, C]
    return (wav.t().contiguous() if channels_first else wav), sample_rate


def _save(uri: Any, src: torch.Tensor, sample_rate: int, channels_first: bool = True, format: str | None = None,
          encoding: str | None = None, bits_per_sample: int | None = None, **ignored: Any) -> None:
    """``torchaudio.save``: ``src`` [C, N] (or [N, C]) into a file; without an encoding, soundfile's usual one."""
    import soundfile

    subtype = {"PCM_S": f"PCM_{bits_per_sample or 16}", "PCM_U": "PCM_U8", "ULAW": "ULAW", "ALAW": "ALAW",
               "PCM_F": "DOUBLE" if bits_per_sample == 64 else "FLOAT"}.get(encoding or "")
    wav = src.detach().cpu().numpy()
    soundfile.write(uri, wav.T if channels_first else wav, sample_rate, subtype=subtype, format=format)


# --- ffmpeg ---------------------------------------------------------------------------------------------------------
# data/audio.py writes every file by piping it into the program.

def _ffmpeg() -> None:
    if shutil.which("ffmpeg"):
        status["ffmpeg"] = "real"
    else:
        importlib.import_module("audiocraft.data.audio")._piping_to_ffmpeg = _write
        status["ffmpeg"] = "replaced by soundfile"


def _write(out_path: Path | str, wav: torch.Tensor, sample_rate: int, flags: list[str]) -> None:
    """Write ``wav`` [C, N], floats in -1..1, as ffmpeg would: ``flags`` are "-f FORMAT [-c:a CODEC] [-b:a RATEk]"."""
    import soundfile

    options = dict(zip(flags[::2], flags[1::2]))
    kind, rate = options["-f"], options.get("-b:a")
    subtype = {"wav": "PCM_16", "flac": "PCM_16", "ogg": "VORBIS", "mp3": "MPEG_LAYER_III"}[kind]
    how: dict[str, Any] = {}
    if kind == "mp3" and rate:
        # libsndfile maps a level of 0..1 onto the constant bit rates which MPEG has for this sample rate
        highest, lowest = (320, 32) if sample_rate >= 32000 else (160, 8) if sample_rate >= 16000 else (64, 8)
        level = (highest - int(rate.rstrip("k"))) / (highest - lowest)
        how |= {"bitrate_mode": "CONSTANT", "compression_level": min(max(level, 0.0), 1.0)}
    elif rate:
        raise MissingPackage(f"{kind} files with a chosen bit rate need the program 'ffmpeg', which is not installed; "
                             "leave the rate out or install it")
    samples = wav.detach().float().t().cpu()  # [N, C]
    if subtype == "PCM_16":  # rounded as ffmpeg does; libsndfile cuts off
        samples = (samples * 32768).round().clamp(-32768, 32767).to(torch.int16)
    with soundfile.SoundFile(out_path, "w", sample_rate, wav.shape[0], subtype, format=kind.upper(), **how) as file:
        for part in samples.split(sample_rate):  # libsndfile overruns its stack on long vorbis
            file.write(part.numpy())


# --- transformers, librosa, metrics ---------------------------------------------------------------------------------
# audiocraft names classes of transformers for text, CLAP and Hugging Face's EnCodec, librosa's filters for chroma, and
# its own metrics, which bring torchmetrics, scipy and matplotlib. They take 5 of the 8.5 s of a processor that `dora
# run` otherwise needs to start, and training on codes uses none of them.

class _Later(type):
    """The type of what stands in for a name of such a package; whatever is asked of it imports the real one."""

    def _real(cls) -> Any:
        return getattr(importlib.import_module(cls.__module__), cls.__name__)

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):  # inspect asks for such names and expects AttributeError
            raise AttributeError(name)
        return getattr(cls._real(), name)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return cls._real()(*args, **kwargs)

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, cls._real())


def _names_of(package: str) -> Callable[[str], type]:
    """A module's ``__getattr__``."""
    def later(name: str) -> type:
        if name.startswith("__"):  # so does importlib
            raise AttributeError(name)
        return _Later(name, (), {"__module__": package})

    return later


@contextlib.contextmanager
def _put_off(packages: list[str]) -> Iterator[None]:
    """What is imported meanwhile and takes names of ``packages`` gets such as import them when they are used."""
    packages = [name for name in packages if name not in sys.modules]
    for name in packages:
        _stub(name, __getattr__=_names_of(name))
    try:
        yield
    finally:
        for name in packages:
            del sys.modules[name]


# --- audiocraft -----------------------------------------------------------------------------------------------------

def delete_param(cfg: DictConfig, full_name: str) -> None:
    """audiocraft's ``_delete_param``, but a section that is null has nothing to delete.

    Upstream asks ``part in cfg`` of it and raises TypeError: "conditioners: null", which is what ``conditioner=none``
    saves, therefore stops every unconditional checkpoint from loading.
    """
    if isinstance(OmegaConf.select(cfg, full_name.rpartition(".")[0]), DictConfig):
        upstream_delete_param(cfg, full_name)


def _import_audiocraft() -> types.ModuleType:
    try:
        return importlib.import_module("audiocraft.models.loaders")
    except ModuleNotFoundError as error:
        if error.name == "audiocraft":
            raise MissingPackage("training needs the package 'audiocraft', which is not installed: "
                                 "pip install --no-deps audiocraft==1.3.0") from error
        raise


_xformers()
_spacy()
_torchaudio()
with _put_off(["transformers", "librosa", "audiocraft.metrics"]):
    _loaders = _import_audiocraft()
# audiocraft has got hold of it; other packages should see that there is no spacy. (xformers stays: audiocraft imports
# from it while it computes.)
if isinstance(sys.modules.get("spacy"), _Spacy):
    del sys.modules["spacy"]
_ffmpeg()
upstream_delete_param = getattr(_loaders._delete_param, "upstream", _loaders._delete_param)  # this file may be reloaded
delete_param.upstream = upstream_delete_param  # type: ignore[attr-defined]
_loaders._delete_param = delete_param
# audiocraft's configs start the workers that load data from a fork server: a fresh process, which would come upon
# audiocraft without this module. It imports this once, and its workers have it.
if "forkserver" in multiprocessing.get_all_start_methods():
    multiprocessing.set_forkserver_preload(["__main__", __name__])
