"""A codec beside Opus, on music it never saw: ``python -m benchmarks.prep.codec SRC [--codec NAME] [--valid-share
0.3]``.

Takes the files of SRC that ``audiocraft_ext.codecs.train`` holds out with the same ``--valid-share``, whole, and
prints bit rate, distance (audiocraft_ext/audio/codec/distance.py), SI-SDR, and how long 10 s take to decode on one
core.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import torch

from audiocraft_ext.audio.codec import get_codec
from audiocraft_ext.audio.codec.distance import MelDistance, si_sdr
from audiocraft_ext.core.errors import Parser, UserError, run_cli
from audiocraft_ext.core.split import VALID, split_of
from audiocraft_ext.sound import files as sound_files
from benchmarks.common.machine import describe, finish, timed

OPUS_RATE = 48_000


def opus(wav: np.ndarray, rate: int, bits: int) -> tuple[np.ndarray, float]:
    """``wav [N]`` through Opus at ``bits`` a second; returns what comes back and the bits a second of the file."""
    file = io.BytesIO()
    with av.open(file, "w", format="ogg") as container:
        stream = container.add_stream("libopus", rate=OPUS_RATE, layout="mono")
        stream.bit_rate = bits
        resampled = sound_files.resample(wav, rate, OPUS_RATE)
        frame = av.AudioFrame.from_ndarray(resampled[None], format="fltp", layout="mono")
        frame.sample_rate = OPUS_RATE
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    size = file.tell()
    file.seek(0)
    with av.open(file) as container:
        resampler = av.AudioResampler(format="flt", layout="mono", rate=OPUS_RATE)
        frames = [f for frame in container.decode(audio=0) for f in resampler.resample(frame)]
        back = np.concatenate([f.to_ndarray().ravel() for f in frames])
    back = sound_files.resample(back, OPUS_RATE, rate)[: len(wav)]
    return np.pad(back, (0, len(wav) - len(back))), size * 8 / (len(wav) / rate)


def main() -> None:
    parser = Parser(prog="python -m benchmarks.prep.codec", description=__doc__.split("\n\n")[0])
    parser.add_argument("src", type=Path)
    parser.add_argument("--codec", default="microcodec")
    parser.add_argument("--valid-share", type=float, default=0.3)
    args = parser.parse_args()
    codec = get_codec(args.codec)
    rate, spec = codec.sample_rate, codec.spec
    names = [p for p in sound_files.find_audio(args.src)
             if split_of(p.relative_to(args.src).as_posix(), args.valid_share) == VALID]
    if not names:
        raise UserError(f"{args.src}: nothing is held out with --valid-share {args.valid_share}")
    hop = round(rate / spec.frame_rate)
    wavs = [wav[: len(wav) // hop * hop] for wav in (sound_files.read(p, rate) for p in names) if len(wav) >= 10 * hop]
    measure = MelDistance(rate)

    def own(wav: np.ndarray) -> tuple[np.ndarray, float]:
        return codec.decode(codec.encode(wav))[: len(wav)], spec.n_q * np.log2(spec.card) * spec.frame_rate

    ways: dict[str, Callable] = {spec.codec: own}
    ways |= {f"Opus {bits // 1000}k": lambda w, bits=bits: opus(w, rate, bits) for bits in (6000, 12_000, 24_000)}
    ways["one second late"] = lambda w: (np.roll(w, rate), 0.0)
    results = {}
    print(f"{len(wavs)} files, {sum(map(len, wavs)) / rate / 60:.1f} minutes, weighted by length")
    print(f"{'':<18}{'kbit/s':>8}{'distance':>10}{'log mel':>9}{'mel':>8}{'SI-SDR dB':>11}")
    for name, way in ways.items():
        rows, weights = [], [len(w) for w in wavs]
        for wav in wavs:
            back, bits = way(wav)
            a, b = torch.from_numpy(back.astype(np.float32))[None], torch.from_numpy(wav)[None]
            with torch.no_grad():
                rows.append([bits / 1000, float(measure(a, b)), *map(float, measure.parts(a, b)), float(si_sdr(a, b))])
        mean = np.average(rows, axis=0, weights=weights)
        results[name] = dict(zip(("kbit_s", "distance", "log_mel", "mel", "si_sdr_db"), map(float, mean)))
        print(f"{name:<18}{mean[0]:8.1f}{mean[1]:10.2f}{mean[2]:9.3f}{mean[3]:8.1f}{mean[4]:11.1f}")
    torch.set_num_threads(1)
    codes = np.random.default_rng(0).integers(0, spec.card, (spec.n_q, round(10 * spec.frame_rate)))
    results["decode_10_s_one_core"] = timed(lambda: codec.decode(codes))
    print(f"10 s decode in {results['decode_10_s_one_core']['median']:.2f} s on one core (torch)")
    finish("codec", describe("torch", "av"), results)


if __name__ == "__main__":
    run_cli(main)
