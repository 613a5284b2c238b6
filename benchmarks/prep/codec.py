"""A codec beside Opus, on sound it never saw: ``python -m benchmarks.prep.codec SRC [--codec NAME] [--codebooks N]``.

Takes the files of SRC, whole and at -18 LUFS, and prints bit rate, log-mel distance, texture and SI-SDR
(audiocraft_ext/audio/codec/distance.py), and how long 10 s take to decode and to encode on one core.
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
from audiocraft_ext.sound import files as sound_files
from audiocraft_ext.sound.level import level
from benchmarks.common.machine import describe, finish, timed

LUFS = -18.0
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
    parser.add_argument("src", type=Path, help="folder of sound that the codec never saw")
    parser.add_argument("--codec", default="spectral")
    parser.add_argument("--codebooks", type=int, help="the first so many of the codec's")
    args = parser.parse_args()
    codec = get_codec(args.codec)
    codec = codec.first(args.codebooks) if args.codebooks else codec
    rate, spec = codec.sample_rate, codec.spec
    wavs = [level(sound_files.read(p, rate), rate, lufs=LUFS).wav for p in sound_files.find_audio(args.src)]
    wavs = [wav for wav in wavs if len(wav) >= rate / 5]
    if not wavs:
        raise UserError(f"{args.src}: expected sound files, found none")
    measure = MelDistance(rate)

    def own(wav: np.ndarray) -> tuple[np.ndarray, float]:
        return codec.decode(codec.encode(wav))[: len(wav)], spec.n_q * np.log2(spec.card) * spec.frame_rate

    ways: dict[str, Callable] = {spec.codec: own}
    ways |= {f"Opus {bits // 1000}k": lambda w, bits=bits: opus(w, rate, bits) for bits in (6000, 12_000, 24_000)}
    ways["one second late"] = lambda w: (np.roll(w, rate), 0.0)
    results = {}
    print(f"{len(wavs)} files, {sum(map(len, wavs)) / rate / 60:.1f} minutes at {LUFS:g} LUFS, weighted by length")
    print(f"{'':<18}{'kbit/s':>8}{'log mel':>9}{'texture':>9}{'SI-SDR dB':>11}")
    for name, way in ways.items():
        rows, weights = [], [len(w) for w in wavs]
        for wav in wavs:
            back, bits = way(wav)
            pair = torch.from_numpy(back.astype(np.float32))[None], torch.from_numpy(wav)[None]
            with torch.no_grad():
                rows.append([bits / 1000, *(float(f(*pair)) for f in (measure, measure.texture, si_sdr))])
        mean = np.average(rows, axis=0, weights=weights)
        results[name] = dict(zip(("kbit_s", "log_mel", "texture", "si_sdr_db"), map(float, mean)))
        print(f"{name:<18}{mean[0]:8.1f}{mean[1]:9.3f}{mean[2]:9.2f}{mean[3]:11.1f}")
    torch.set_num_threads(1)
    codes = np.random.default_rng(0).integers(0, spec.card, (spec.n_q, round(10 * spec.frame_rate)))
    noise = (0.1 * np.random.default_rng(0).normal(size=10 * rate)).astype(np.float32)
    for name, what in (("decode", lambda: codec.decode(codes)), ("encode", lambda: codec.encode(noise))):
        results[f"{name}_10_s_one_core"] = timed(what)
        print(f"10 s {name} in {results[f'{name}_10_s_one_core']['median']:.2f} s on one core (torch)")
    finish("codec", describe("torch", "av"), results)


if __name__ == "__main__":
    run_cli(main)
