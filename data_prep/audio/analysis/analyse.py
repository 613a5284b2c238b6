"""Analyse one file in one pass, from its first sample to its last:
:class:`~data_prep.audio.analysis.facts.Facts`.

Runs in a worker process. Nothing holds more of the sound than a block of it, so eleven hours need no more memory than a
minute. Where the channels cancel in their mean, the file is read a second time, one channel of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from audiocraft_ext.core.files import sha256
from audiocraft_ext.sound import files as sound_files
from data_prep.audio.analysis import labels
from data_prep.audio.analysis.facts import Facts
from data_prep.audio.analysis.fingerprint import Fingerprinter
from data_prep.audio.analysis.levels import ChannelListener, LevelListener
from data_prep.audio.analysis.onsets import OnsetListener
from data_prep.audio.analysis.outline import EnvelopeListener
from data_prep.audio.analysis.spectra import SpectrumListener
from data_prep.audio.beats import steady
from data_prep.audio.beats.listener import BeatListener
from data_prep.shared.labels import sidecar
from data_prep.shared.naming import Labels


@dataclass(frozen=True)
class Task:
    """A file to be analysed, and how.

    Attributes:
        rate: Hz, of the mono sound.
        tempo: "net", "beat_this" or "off".
        onsets: whether to look for them.
        root: the folder that is prepared; a licence beside the file is looked for up to there.
    """

    path: str
    name: str
    size: int
    mtime_ns: int
    rate: int
    tempo: str = "net"
    onsets: bool = False
    root: str = ""

    @property
    def how(self) -> str:
        """What facts depend on besides the file."""
        return f"{self.rate} {self.tempo} {'onsets' if self.onsets else '-'}"


class Sound:
    """Sha256 of what a file decodes to: its channels in 16 bits, and the rate. A WAV and a FLAC of the same sound have
    it in common, and so have a mono file and one with that in all of its channels."""

    def __init__(self, rate: int):
        self._all, self._first = (hashlib.sha256(f"{rate} {what}\n".encode()) for what in ("all", "first"))
        self._alike = True

    def push(self, block: np.ndarray) -> None:
        """Take ``float32 [n, C]``."""
        whole = np.clip(np.rint(block * 32767), -32768, 32767).astype("<i2")
        first = np.ascontiguousarray(whole[:, 0])
        self._alike = self._alike and bool((whole == first[:, None]).all())
        self._first.update(first)
        self._all.update(np.ascontiguousarray(whole))

    def result(self) -> str:
        return (self._first if self._alike else self._all).hexdigest()


def analyse(task: Task) -> Facts:
    """Facts of one file.

    Raises:
        BrokenAudio: it cannot be used.
    """
    path = Path(task.path)
    given = labels.read(path, Path(task.root) if task.root else None)
    facts, mix = _analyse(task, path, given, "mid")
    return facts if mix == "mid" else _analyse(task, path, given, mix)[0]


def _bars_given(path: Path, bpm: float | None) -> int | None:
    """How many bars a sidecar says that the file is, if it is as long as that at its tempo: then nothing needs to be
    looked for."""
    bars = sidecar(path).get("bars")
    if bpm is None or type(bars) is not int:
        return None
    seconds = sound_files.duration(path)
    return bars if steady.known(bpm, bars, round(seconds * 48_000), 48_000) else None


def _analyse(task: Task, path: Path, given: Labels, mix: str) -> tuple[Facts | None, str]:
    """Facts of the file mixed as ``mix``; none, and how it should be mixed, where its mid cancels."""
    with sound_files.open_sound(path) as reader:
        channels, sound, count = ChannelListener(reader.channels), Sound(reader.rate), 0

        def passing(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
            nonlocal count
            for block in blocks:
                channels.push(block)
                sound.push(block)
                count += len(block)
                yield block

        ears = {"level": LevelListener(task.rate), "envelope": EnvelopeListener(task.rate),
                "spectrum": SpectrumListener(task.rate),
                "fingerprint": Fingerprinter(task.rate)}
        bars = _bars_given(path, given.bpm) if task.tempo != "off" else None
        beats = BeatListener(task.rate, task.tempo) if task.tempo != "off" and bars is None else None
        onsets = OnsetListener(task.rate) if task.onsets else None
        samples = 0
        for wav in sound_files.mono(passing(reader), reader.rate, task.rate, mix):
            samples += len(wav)
            for ear in (*ears.values(), *(ear for ear in (beats, onsets) if ear)):
                ear.push(wav)
        about = channels.result()
        if about.mix != mix == "mid":
            return None, about.mix
        level = ears["level"].result(about)
        found = beats.result(given.bpm) if beats else None
        if bars is not None:
            found = steady.known(given.bpm, bars, samples, task.rate)
        envelope, overview = ears["envelope"].result(level.dc)
        spectrum, texture = ears["spectrum"].result()
        return Facts(
            task.name, task.size, task.mtime_ns, task.rate, sha256(path), sound.result(), reader.format, reader.lossy,
            count / reader.rate, reader.rate, about.amplitude, samples, level, given,
            found, spectrum, texture, envelope, overview,
            ears["fingerprint"].result(), onsets.result() if onsets else None, reader.notes), mix
