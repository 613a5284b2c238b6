"""Where the numbers and the sounds of a run go: one seam, several listeners.

TensorBoard and the run's own record (:mod:`audiocraft_ext.runs.record`) are two of them; a third comes with the option
``logging.tracker``. It sees numbers only, unless ``logging.tracker_audio`` is set.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import numpy as np
from omegaconf import OmegaConf

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.runs.identity import identity
from audiocraft_ext.runs.record import Record

LIBRARIES = ("trackio", "wandb")
PROJECT = "micro-musicgen"
# Of wandb's settings: what it would send of the machine and of the checkout without being asked, and what could keep
# somebody waiting who is not there (a question at the start, an upload at the end; seconds).
WANDB = {"x_disable_meta": True, "x_disable_machine_info": True, "x_disable_stats": True, "x_save_requirements": False,
         "disable_git": True, "disable_code": True, "save_code": False, "disable_job_creation": True, "console": "off",
         "host": "", "username": "", "program": "", "login_timeout": 30.0, "init_timeout": 30.0,
         "finish_timeout": 60.0}
logger = logging.getLogger(__name__)


class Tracker:
    """What the solver tells. A tracker takes what it can use and passes over the rest."""

    def point(self, stage: str, step: int, metrics: Mapping[str, float]) -> None:
        """Metrics of a stage ("train", "valid", ...), after ``step`` updates: some times an epoch for "train", once an
        epoch for the others."""

    def sound(self, name: str, step: int, wav: np.ndarray, rate: int) -> None:
        """A clip ``wav [N]`` or ``[C, N]`` that the model made."""

    def close(self) -> None:
        """The run has ended."""


class Recorded(Tracker):
    """The run's own files."""

    def __init__(self, record: Record):
        self.record = record

    def point(self, stage, step, metrics) -> None:
        self.record.point(stage, step, dict(metrics))


class TensorBoard(Tracker):
    """Curves by the update. (By the epoch flashy writes them itself.)"""

    def __init__(self, writer):
        self.writer = writer

    def point(self, stage, step, metrics) -> None:
        if stage == "train":
            for key, value in metrics.items():
                self.writer.add_scalar(f"step/{key}", value, step)

    def sound(self, name, step, wav, rate) -> None:
        self.writer.add_audio(f"generate/{name}", np.atleast_2d(wav), step, rate)


class Followed(Tracker):
    """A run at somebody's: a library with wandb's calls (``init``, ``Run.log``, ``Run.finish``, ``Audio``).

    A service that does not answer is no reason to stop a training: what fails is said once, and that was that.
    """

    def __init__(self, name: str, start: Callable[[], object], audio: Callable | None):
        """``start`` gives the library's run; ``audio`` is its class for sound, None keeps all sound here."""
        self._name, self._audio, self._run = name, audio, None
        self._run = self._tried(start)

    def point(self, stage, step, metrics) -> None:
        self._log({f"{stage}/{key}": value for key, value in metrics.items()}, step)

    def sound(self, name, step, wav, rate) -> None:
        if self._audio is not None and self._run is not None:
            pcm = (np.clip(np.atleast_2d(wav).T, -1, 1) * 32767).astype(np.int16)  # [N, C]; floats would be normalised
            self._tried(lambda: self._log({f"generate/{name}": self._audio(pcm, sample_rate=rate)}, step))

    def close(self) -> None:
        run, self._run = self._run, None
        if run is not None:
            self._tried(run.finish)

    def _log(self, values: dict, step: int) -> None:
        if self._run is not None:
            self._tried(lambda: self._run.log(values, step=step))

    def _tried(self, call: Callable[[], object]) -> object:
        try:
            return call()
        except Exception as error:  # a library may raise anything, and most of theirs have names of their own
            self._run = None
            words = " ".join(str(error).split()) or type(error).__name__
            logger.warning("logging.tracker=%s does not work, the run goes on without it: %s", self._name, words[:300])
            return None


class Trackers(Tracker):
    """All of them as one."""

    def __init__(self, trackers: list[Tracker]):
        self.trackers = trackers

    def point(self, stage, step, metrics) -> None:
        for tracker in self.trackers:
            tracker.point(stage, step, metrics)

    def sound(self, name, step, wav, rate) -> None:
        for tracker in self.trackers:
            tracker.sound(name, step, wav, rate)

    def close(self) -> None:
        for tracker in self.trackers:
            tracker.close()


def get_trackers(cfg, record: Record | None, writer) -> Trackers:
    """Those that the config asks for.

    Args:
        record: the run's own; None in a process that is not the first of its run, which tells nobody anything else.
        writer: TensorBoard's, or None.

    Raises:
        UserError: ``logging.tracker`` is unknown or not installed.
    """
    name = tracker_of(cfg)
    library = None if name is None else _library(name)
    return Trackers([*([Recorded(record)] if record is not None else []),
                     *([TensorBoard(writer)] if writer is not None else []),
                     *([_followed(name, library, cfg, record.folder)] if library and record is not None else [])])


def tracker_of(cfg) -> str | None:
    """``logging.tracker``; ``logging.log_wandb=true`` is audiocraft's way to say wandb."""
    name = cfg.logging.tracker
    if cfg.logging.log_wandb:
        if name not in (None, "wandb"):
            raise UserError(f"logging.log_wandb=true says logging.tracker=wandb, got logging.tracker={name} too; "
                            "leave one of them out")
        name = "wandb"
    if name not in (None, *LIBRARIES):
        raise UserError(f"logging.tracker is {' or '.join(LIBRARIES)}, or empty, got {name}")
    return name


def _library(name: str) -> ModuleType:
    try:
        library = importlib.import_module(name)
        if not hasattr(library, "init"):  # wandb leaves folders of that name about, which import as empty packages
            raise ImportError(f"{getattr(library, '__path__', name)} is not it")
        return library
    except ImportError as error:
        raise UserError(f"logging.tracker={name} needs the package {name}, which does not import ({error}); "
                        f"pip install {name}, or leave logging.tracker out") from None


def _followed(name: str, library: ModuleType, cfg, folder: Path) -> Followed:
    """Dora's signature is the run's id there, so a run that goes on goes on there too."""
    sig, called = folder.name, cfg.wandb.name
    common = {"project": cfg.wandb.project or PROJECT, "group": cfg.wandb.group, "config": told(cfg), "resume": "allow"}

    def start():
        if name == "wandb":
            library.setup(settings=library.Settings(**WANDB))  # its login reads them from here alone
            return library.init(**common, id=sig, name=called or sig, dir=str(folder))
        # trackio knows a run by its name
        return library.init(**common, name=f"{called}-{sig}" if called else sig, embed=False, auto_log_gpu=False,
                            auto_log_cpu=False)

    audio = cfg.logging.tracker_audio or cfg.wandb.with_media_logging
    return Followed(name, start, library.Audio if audio else None)


def told(cfg) -> dict[str, object]:
    """The settings that make the run what it is, flat, and its label: no path, nothing of this machine."""
    flat = identity(OmegaConf.to_container(cfg, resolve=True), list(cfg.dora.exclude), "", {})["config"]
    return flat | {"label": cfg.label}
