"""What FFmpeg reads (M4A, WMA, the sound of a video, odd MP3s), block by block; PyAV is imported only when needed."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.sound import libsndfile, ogg, promise
from audiocraft_ext.sound.promise import BrokenAudio

FRAME = 0.05  # s; the clock of a lossy stream is as exact as this
EXACT = ("mov", "matroska", "flac", "asf", "caf")  # FFmpeg's names of what states its length


@dataclass
class _Seen:
    """Of a stream: its packets, and the latest end of one by the stream's clock, in s."""

    packets: int = 0
    end: float = 0.0

    def add(self, packet) -> None:
        if packet.size:
            self.packets += 1
            if packet.pts is not None:
                self.end = max(self.end, float((packet.pts + (packet.duration or 0)) * packet.time_base))


def read(path: Path, first_error: str, notes: list[str]) -> Iterator:
    """As :func:`audiocraft_ext.sound.libsndfile.read`.

    Args:
        first_error: what the decoder before said.
    """
    try:
        import av
    except ImportError:
        raise BrokenAudio(f"{path}: cannot be read ({first_error}); 'pip install av' reads more formats") from None
    got, rate, said, seen = 0, 1, 0.0, _Seen()
    try:
        # Through our own handle, and no other: a file may say "and now play that one", or be named like an address.
        # Tags are no sound: what they hold that is no UTF-8 is nothing to stop at.
        with (path.open("rb") as raw,
              av.open(raw, options={"protocol_whitelist": "none"}, metadata_errors="replace") as container):
            kind = container.format.name.split(",")[0]
            CHECKS.get(kind, lambda path, notes: None)(path, notes)
            stream = next(iter(container.streams.audio), None)
            if stream is None or stream.codec_context is None:
                raise BrokenAudio(f"{path}: not audio that can be read ({'no' if stream is None else 'unknown'} sound "
                                  "in it)")
            codec = stream.codec_context.codec
            said = _seconds(stream) if kind in EXACT else 0.0
            for block, rate in _gathered(stream, seen, notes):
                if not got:
                    name = codec.canonical_name
                    bare = kind in (name, "mp3")  # no container, or as good as none
                    yield rate, block.shape[1], (name if bare else f"{kind} {name}").upper(), not codec.lossless
                got += len(block)
                yield block
            complete = seen.packets >= stream.frames > 0  # the packets of an MP4 are counted, whatever its clock says
    except MemoryError:
        raise
    except (av.FFmpegError, ValueError, OverflowError, OSError) as error:
        known = isinstance(error, av.FFmpegError) or not isinstance(error, OSError) or error.errno == errno.EINVAL
        if isinstance(error, UserError) or not known:  # EINVAL: sought to where no file can be
            raise
        if not 0 < said <= got / rate:
            reason = getattr(error, "strerror", None) or "damaged"
            reason = "damaged" if reason.startswith("Error number") else reason
            raise BrokenAudio(f"{path}: not audio that can be read ({reason})") from None
        notes.append(f"behind its {said:.2f} seconds lies what is no sound")
        complete = True
    if not got:
        raise BrokenAudio(f"{path}: no audio in the file")
    reached = max(got / rate, seen.end)  # a pause that the clock alone knows is nothing missing
    if not complete and said - reached > FRAME:
        promise.check(path, reached, said, reached, "seconds", notes)


def _seconds(stream) -> float:
    """How long a stream says it is; 0 if it says nothing, as in a film whose picture may be longer than its sound."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    container = stream.container
    return (container.duration or 0) / 1e6 if len(container.streams) == 1 else 0.0


def _gathered(stream, seen: _Seen, notes: list[str]) -> Iterator[tuple[np.ndarray, int]]:
    """A stream's sound in blocks ``[n, C]`` of a useful size, each with the rate, which is that of the first frame:
    where a file changes its rate or its channels, what follows is resampled."""
    stream.codec_context.thread_count = 1
    pieces, held, rate = [], 0, 0
    for plain in _plain(_frames(stream, seen), notes):
        pieces.append(plain.to_ndarray().reshape(-1, len(plain.layout.channels)))  # [1, n * C] -> [n, C]
        held, rate = held + pieces[-1].size, plain.sample_rate
        if held >= libsndfile.BLOCK:
            yield np.concatenate(pieces), rate
            pieces, held = [], 0
    if pieces:
        yield np.concatenate(pieces), rate


def _plain(frames: Iterator, notes: list[str]) -> Iterator:
    """Frames as interleaved floats (PyAV knows 8 separate channels and no more), of one rate and one layout."""
    from av import AudioResampler

    fit, form, first = None, None, None
    for frame in frames:
        if (now := (frame.sample_rate, frame.layout.name, frame.format.name)) != form:
            if fit is not None:
                yield from fit.resample(None)
                if now[:2] != form[:2]:
                    notes.append(f"changes from {_words(form)} to {_words(now)}; all of it is read at {first[0]} Hz")
            form, first = now, first or now
            fit = AudioResampler(format="flt") if now[:2] == first[:2] else AudioResampler("flt", first[1], first[0])
        frame.pts = None  # a clock that jumps is not to be made up for
        yield from fit.resample(frame)
    if fit is not None:
        yield from fit.resample(None)


def _words(form: tuple) -> str:
    return f"{form[0]} Hz {form[1]}"


def _frames(stream, seen: _Seen) -> Iterator:
    """Decoded frames. Of a lossy stream one packet in a hundred may be damaged, and the last one, as in any player."""
    import av

    good = bad = 0
    for packet in stream.container.demux(stream):
        seen.add(packet)
        try:
            yield from packet.decode()
            good += 1
        except MemoryError:
            raise
        except av.FFmpegError:
            bad += 1
            if stream.codec_context.codec.lossless or bad > 1 + good / 100:
                raise


def _check_caf(path: Path, notes: list[str]) -> None:
    """libsndfile does not open a CAF that is cut short, FFmpeg reads what is left of it."""
    with path.open("rb") as raw:
        at, size = 8, path.stat().st_size
        while raw.seek(at) < size and len(chunk := raw.read(12)) == 12:
            length = int.from_bytes(chunk[4:], "big", signed=True)
            if chunk[:4] == b"data" and length > size - at - 12:
                promise.check(path, size - at - 12, length, None, "bytes of sound", notes)
            at += 12 + length if length >= 0 else size


CHECKS = {"ogg": ogg.links, "caf": _check_caf}
