"""The sound that a codec is trained on: folders read once into one file, all of it equally loud, and crops of that.

    sound.i16     int16 samples, mono, one file after another; read through a memory map
    sound.json    which files they are, and where each begins
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.files import atomic, json_or_empty, read_json, write
from audiocraft_ext.sound import files as sound_files

LEVEL = 10 ** (-18 / 20)  # RMS of every file
PEAK = 0.95
SPEEDS = (0.75, 1.35)
GAINS = (-10.0, 4.0)  # dB


def levelled(wav: np.ndarray) -> np.ndarray:
    """``float32 [N]`` at -18 dB RMS, or quieter where its peaks would not fit."""
    rms, peak = float(np.sqrt(np.mean(np.square(wav, dtype=np.float64)))), float(np.abs(wav).max())
    return wav * np.float32(min(LEVEL / max(rms, 1e-9), PEAK / max(peak, 1e-9)))


def find(sources: list[Path]) -> list[list[Path]]:
    """The sound files of each source, a folder or a file.

    Raises:
        UserError: a source is missing, or there is no sound in it.
    """
    found = []
    for source in sources:
        if not source.exists():
            raise UserError(f"no such folder or file: {source}")
        found.append(sound_files.find_audio(source) if source.is_dir() else [source])
        if not found[-1]:
            raise UserError(f"{source}: expected sound files, found none")
    return found


class Pool:
    """What :func:`prepare` wrote.

    Attributes:
        sound: ``int16 [N]``, memory-mapped.
        sources: for each source its files' ``[starts, ends]``, ``int64 [2, n]``.
    """

    def __init__(self, folder: Path):
        about = read_json(folder / "sound.json")
        self.sound = np.memmap(folder / "sound.i16", np.int16, "r")
        spans = [np.array([row[1:] for row in files], np.int64).reshape(-1, 2).T for files in about["sources"]]
        self.sources = [s for s in spans if s.shape[1]]
        self.minutes = len(self.sound) / about["sample_rate"] / 60


def prepare(groups: list[list[Path]], folder: Path, sample_rate: int) -> Pool:
    """Read the files of each group into ``folder``, unless they lie there already.

    Raises:
        UserError: no file of a group can be read.
    """
    stamp = [[[str(p), p.stat().st_size, p.stat().st_mtime_ns] for p in files] for files in groups]
    if json_or_empty(folder / "sound.json").get("stamp") == stamp:
        return Pool(folder)
    folder.mkdir(parents=True, exist_ok=True)
    at, sources = 0, []
    with (atomic(folder / "sound.i16") as part, part.open("wb") as out,
          tqdm(total=sum(map(len, groups)), desc="reading", unit="file", mininterval=2) as bar):
        for files in groups:
            sources.append([])
            for path in files:
                bar.update()
                try:
                    wav = levelled(sound_files.read(path, sample_rate))
                except sound_files.BrokenAudio as error:
                    print(f"skipped {error}", file=sys.stderr)
                    continue
                out.write((wav * 32767).round().astype("<i2").tobytes())
                sources[-1].append([path.name, at, at + len(wav)])
                at += len(wav)
            if not sources[-1]:
                raise UserError(f"{files[0].parent}: none of its {len(files)} sound files can be read")
    write(folder / "sound.json", json.dumps({"stamp": stamp, "sample_rate": sample_rate, "sources": sources}))
    return Pool(folder)


class Crops:
    """Random crops, varied in speed, level and polarity, now and then two at once; a function of (seed, step).

    Args:
        weights: how often each source is drawn; within a source every second is as likely as any other.
        length: of a crop, in samples.
    """

    def __init__(self, pool: Pool, weights: list[float], length: int, seed: int):
        self.pool, self.length, self.seed = pool, length, seed
        self.weights = np.array(weights) / sum(weights)

    def _span(self, rng: np.random.Generator, need: int) -> np.ndarray:
        """``need`` samples of one file; a shorter file stands somewhere between silence."""
        starts, ends = self.pool.sources[rng.choice(len(self.weights), p=self.weights)]
        begins = np.cumsum(ends - starts) - (ends - starts)
        at = rng.integers(int(ends[-1] - starts[-1] + begins[-1]))
        i = np.searchsorted(begins, at, "right") - 1
        start, end = int(starts[i]), int(ends[i])
        out = np.zeros(need, np.float32)
        if end - start < need:
            before = rng.integers(need - (end - start) + 1)
            out[before: before + end - start] = self.pool.sound[start:end]
        else:
            first = min(start + int(at - begins[i]), end - need)
            out[:] = self.pool.sound[first: first + need]
        return out / np.float32(32768)

    def _crop(self, rng: np.random.Generator) -> np.ndarray:
        speed = rng.uniform(*SPEEDS) if rng.random() < 0.4 else 1.0
        need = int(self.length * speed) + 2
        wav = self._span(rng, need)
        if speed != 1.0:
            wav = np.interp(np.arange(self.length) * speed, np.arange(need), wav)
        gain = 10 ** (rng.uniform(*GAINS) / 20) * (-1 if rng.random() < 0.5 else 1)
        return wav[: self.length] * gain

    def batch(self, step: int, size: int) -> torch.Tensor:
        """``wav [B, N]`` for a step."""
        rng = np.random.default_rng([self.seed, step])
        rows = []
        for _ in range(size):
            row = self._crop(rng)
            if rng.random() < 0.2:
                row = row + 0.6 * self._crop(rng)
            rows.append(np.clip(row, -1, 1).astype(np.float32))
        return torch.from_numpy(np.stack(rows))
