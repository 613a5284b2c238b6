"""WAV files for samplers and DAWs: loop points, tempo, cue points and settings inside, whole or written while made.

A WAV is a RIFF file: chunks of a four-letter name, a size and a body, padded to even. The sound comes first and the
rest behind it, so that readers which expect the sound at byte 44 find it there. Nothing in a file depends on the time
or the machine: the same clip is the same bytes (libsndfile would put the time of day into a float file's PEAK chunk).

Layouts: `Multimedia Programming Interface and Data Specifications 1.0`_ (fmt, fact, data, LIST, cue) and its
supplement of 1994 (smpl; `a reference <https://wavref.til.cafe/chunk/smpl>`_); for ``acid``, which was never published,
what `GStreamer <https://gstreamer.freedesktop.org/documentation/riff/riff-ids.html>`_ and libsndfile read.

.. _Multimedia Programming Interface and Data Specifications 1.0:
   https://www.mmsp.ece.mcgill.ca/Documents/AudioFormats/WAVE/Docs/riffmci.pdf
"""

from __future__ import annotations

import os
import stat
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from audiocraft_ext.core import streams
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.files import atomic

BITS = (16, 24, 32)  # 32 is float
UNKNOWN_SIZE = LARGEST = 0xFFFFFFFF
UNITY_NOTE = 60  # middle C: the key that plays a sample as it is
ONE_SHOT, STRETCH = 0x01, 0x04  # flags of an acid chunk; 0x02, "has a root note", stays off
BLOCK = 2**18  # samples that are encoded at a time: a long clip needs no second copy
PATCH_EVERY = 1.0  # seconds between two corrections of a growing file's header


@dataclass(frozen=True)
class Markers:
    """What a DAW may know about a clip. Positions are samples of the file.

    Attributes:
        loop: start and end of the loop; the end is the first sample that is not played, as in a slice.
        bpm: tempo; with it the file says its tempo and its beats, and hosts fit it to theirs.
        beats: how many; None is what tempo and length come to, rounded.
        cues: positions, onsets for example.
        labels: a name for each cue; none is none at all.
        one_shot: a single hit, which a host should not stretch to its tempo.
    """

    loop: tuple[int, int] | None = None
    bpm: float | None = None
    beats: int | None = None
    cues: Sequence[int] = ()
    labels: Sequence[str] = ()
    one_shot: bool = False

    def chunks(self, samples: int, sample_rate: int) -> bytes:
        """The chunks for a file of ``samples``.

        Raises:
            ValueError: a position that the file does not have, more or fewer labels than cues, a tempo that is none.
        """
        if self.loop is not None and not 0 <= self.loop[0] < self.loop[1] <= samples:
            raise ValueError(f"a loop of samples {self.loop} in a file of {samples}")
        if outside := [cue for cue in self.cues if not 0 <= cue < samples]:
            raise ValueError(f"a cue at sample {outside[0]} in a file of {samples}")
        if self.labels and len(self.labels) != len(self.cues):
            raise ValueError(f"{len(self.labels)} labels for {len(self.cues)} cues")
        if self.bpm is not None and not 0 < self.bpm < float("inf"):
            raise ValueError(f"a tempo of {self.bpm} bpm")
        return self._smpl(sample_rate) + self._acid(samples / sample_rate) + self._cue() + self._adtl()

    def _smpl(self, sample_rate: int) -> bytes:
        if self.loop is None:
            return b""
        start, end = self.loop
        header = (0, 0, round(1e9 / sample_rate), UNITY_NOTE, 0, 0, 0, 1, 0)  # any brand; ns a sample; no SMPTE; 1 loop
        forward_for_ever = (0, 0, start, end - 1, 0, 0)  # name, kind; the chunk's end is the last sample played
        return _chunk(b"smpl", struct.pack("<15I", *header, *forward_for_ever))

    def _acid(self, seconds: float) -> bytes:
        if self.bpm is None and not self.one_shot:
            return b""
        bpm = self.bpm or 0.0
        beats = round(seconds * bpm / 60) if self.beats is None else self.beats
        flags = ONE_SHOT if self.one_shot else STRETCH
        # The root note is not used without its flag; 0x8000 and 0.0 are what every file was seen to have there.
        return _chunk(b"acid", struct.pack("<IHHfIHHf", flags, UNITY_NOTE, 0x8000, 0.0, beats, 4, 4, bpm))

    def _cue(self) -> bytes:
        if not len(self.cues):
            return b""
        points = (struct.pack("<II4sIII", n, cue, b"data", 0, 0, cue) for n, cue in enumerate(self.cues, 1))
        return _chunk(b"cue ", struct.pack("<I", len(self.cues)) + b"".join(points))

    def _adtl(self) -> bytes:
        labels = b"".join(_chunk(b"labl", struct.pack("<I", n) + _text(name)) for n, name in enumerate(self.labels, 1))
        return _chunk(b"LIST", b"adtl" + labels) if labels else b""


def write_wav(path: Path, wav: np.ndarray, sample_rate: int, *, bits: int = 16, comment: str = "", title: str = "",
              markers: Markers | None = None) -> None:
    """Write ``float [N]`` as a mono WAV: beside its place, then renamed, so that a file that is there is whole.

    Args:
        bits: 16 or 24, where what lies outside -1..1 is clipped, or 32, float, where it stays.
        comment, title: for the file's INFO chunk, any Unicode.

    Raises:
        UserError: it cannot be written, or not with so many bits; nothing is left behind.
    """
    check_bits(bits)
    size = len(wav) * bits // 8
    info = {b"INAM": title, b"ICMT": comment, b"ISFT": "micro-musicgen"}
    tags = b"".join(_chunk(tag, _text(text)) for tag, text in info.items() if text)
    tail = b"\0" * (size % 2) + _chunk(b"LIST", b"INFO" + tags)
    tail += markers.chunks(len(wav), sample_rate) if markers else b""
    header = _header(sample_rate, bits, size, len(tail))
    if len(header) + size + len(tail) > LARGEST:
        raise UserError(f"cannot write {path}: a WAV holds 4 GiB; fewer bits or a shorter clip fit")
    try:
        with atomic(path) as part, part.open("wb") as file:
            file.write(header)
            for at in range(0, len(wav), BLOCK):
                file.write(encode(wav[at : at + BLOCK], bits))
            file.write(tail)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None


class WavStream:
    """A mono WAV, or raw samples, written while they are made; a context manager.

    A file can be played while it grows and after the process was killed: its header is corrected with the first block
    and then every second. Where there is no way back, in a pipe, the header says "unknown" as FFmpeg's do.

    Args:
        place: a file, which is replaced, or "-" for stdout.
        bits: 16, 24 or 32 (float), as for :func:`write_wav`.
        raw: no header: little-endian samples, mono (``aplay -t raw -f S16_LE -r RATE``).

    Raises:
        UserError: it cannot be written, or not any more; what was written stays.
        BrokenPipeError: whoever listened has gone.
    """

    def __init__(self, place: Path | str, sample_rate: int, bits: int = 16, *, raw: bool = False):
        check_bits(bits)
        self.place, self.sample_rate, self.bits, self.raw = place, sample_rate, bits, raw
        self.samples, self._bytes, self._patched = 0, 0, -PATCH_EVERY
        try:
            self._shared = str(place) == "-"
            self._file = streams.binary() if self._shared else open(place, "wb", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise self._cannot(error) from None
        self._start = None if raw else _way_back(self._file, self._shared)
        self._put(b"" if raw else _header(sample_rate, bits, UNKNOWN_SIZE))

    def write(self, wav: np.ndarray) -> None:
        """Append ``float [N]``; it is out, not in a buffer, on return."""
        data = encode(wav, self.bits)
        self._put(data)
        self.samples += len(wav)
        self._bytes += len(data)
        if time.monotonic() - self._patched >= PATCH_EVERY:
            self._patch()

    def clipped(self, wav: np.ndarray) -> int:
        """How many samples of ``float [N]`` lie beyond what the file can hold."""
        return 0 if self.bits == 32 else int((wav > 1).sum() + (wav < -1).sum())

    def close(self) -> None:
        """Correct the header and close the file (stdout stays open). Twice is once."""
        if self._file is None:
            return
        try:
            self._patch(self._bytes % 2)
            if not self.raw and self._bytes % 2:
                self._put(b"\0")
        finally:
            self._let_go()

    def _patch(self, padding: int = 0) -> None:
        if self._start is None:
            return
        self._patched = time.monotonic()
        try:
            end = self._file.tell()
            self._file.seek(self._start)
            self._put(_header(self.sample_rate, self.bits, self._bytes, padding))
            self._file.seek(end)
            self._file.flush()
        except OSError as error:
            raise self._cannot(error) from None

    def _put(self, data: bytes) -> None:
        left = memoryview(data)
        try:
            while left:  # an unbuffered file may take less than it is given
                left = left[self._file.write(left):]
            self._file.flush()
        except BrokenPipeError:
            self._let_go()
            raise
        except OSError as error:
            raise self._cannot(error) from None

    def _cannot(self, error: OSError) -> UserError:
        return UserError(f"cannot write {self.place}: {error.strerror or error}")

    def _let_go(self) -> None:
        file, self._file = self._file, None
        if file is not None and not self._shared:
            file.close()

    def __enter__(self) -> WavStream:
        return self

    def __exit__(self, kind, *_) -> None:
        try:
            self.close()
        except (UserError, BrokenPipeError):
            if kind is None:  # else the first error is the one to hear about
                raise


def check_bits(bits: int) -> None:
    """Raises UserError unless a WAV can have ``bits`` here."""
    if bits not in BITS:
        raise UserError(f"{bits} bits: a WAV has 16, 24 or 32 (float)")


def encode(wav: np.ndarray, bits: int) -> bytes:
    """``float [N]`` to little-endian samples. Integers are what every reader divides by 2^(bits - 1) to get back."""
    wav = np.asarray(wav, np.float32)
    assert wav.ndim == 1 and not np.isnan(wav).any(), f"sound of shape {wav.shape}, or not a number"
    if bits == 32:
        return wav.astype("<f4").tobytes()
    full = 2 ** (bits - 1)
    whole = np.clip(np.rint(wav * np.float32(full)), -full, full - 1)  # exact: float32 holds 24 bits
    if bits == 16:
        return whole.astype("<i2").tobytes()
    return whole.astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes()  # [N, 4] -> [N, 3], the top byte is sign


def _header(sample_rate: int, bits: int, size: int, behind: int = 0) -> bytes:
    """All that precedes the samples, for ``size`` bytes of them and ``behind`` bytes after them."""
    floating, width = bits == 32, bits // 8
    fmt = struct.pack("<HHIIHH", 3 if floating else 1, 1, sample_rate, sample_rate * width, width, bits)
    if floating:  # whatever is not PCM has the size of an extension, none here, and states its length
        known = size < UNKNOWN_SIZE
        fmt = _chunk(b"fmt ", fmt + b"\0\0") + _chunk(b"fact", struct.pack("<I", size // width if known else size))
    else:
        fmt = _chunk(b"fmt ", fmt)
    whole = min(4 + len(fmt) + 8 + size + behind, LARGEST)  # beyond 4 GiB a stream's length is unknown again
    return struct.pack("<4sI4s", b"RIFF", whole, b"WAVE") + fmt + struct.pack("<4sI", b"data", min(size, UNKNOWN_SIZE))


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack("<4sI", name, len(body)) + body + b"\0" * (len(body) % 2)


def _text(text: str) -> bytes:
    return text.replace("\0", "").encode() + b"\0"


def _way_back(file, shared: bool) -> int | None:
    """Where the header can be corrected, None where it cannot: in a pipe, or behind ``>>``, which only appends."""
    try:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode) or shared and _appends(file):
            return None
        return file.tell()
    except (OSError, ValueError):
        return None


def _appends(file) -> bool:
    try:
        import fcntl  # not on Windows, where one cannot tell
    except ImportError:
        return True
    return bool(fcntl.fcntl(file, fcntl.F_GETFL) & os.O_APPEND)
