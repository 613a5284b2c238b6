"""Piece by piece is as if at once: against the torch decoder, and however the codes arrive."""

import numpy as np
import pytest
import torch

from audiocraft_ext.audio.codec import get_codec, torch_decoder
from audiocraft_ext.audio.codec.decoder import PIECE, Front, sound
from audiocraft_ext.audio.codec.encodec import EncodecConfig
from audiocraft_ext.audio.engine import SoundEngine
from audiocraft_ext.engine.bundle import find_bundle
from tests.audio.test_codec_onnx import SIZES
from tests.helpers import tiny

# What follows the LSTM (or all, without one) sees 2 frames to either side here, and 4: the kernels are larger.
WIDE = EncodecConfig(n_filters=4, ratios=(2, 2), dimension=16, card=96, lstm=1, kernel_size=9, last_kernel_size=9,
                     residual_kernel_size=7, n_residual_layers=2)


@pytest.fixture(scope="module", params=[*SIZES, "wide", "embedded"])
def both(request, tmp_path_factory):
    if request.param == "embedded":
        return get_codec("spectral").model, SoundEngine(find_bundle())
    codec = tiny.tiny_codec(SIZES.get(request.param, WIDE))
    return codec.model, SoundEngine(tiny.tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny", codec=codec))


def random_codes(engine, frames):
    return np.random.default_rng(frames).integers(0, engine.spec.card, (engine.spec.n_q, frames))


@pytest.mark.parametrize("frames", [1, 2, PIECE - 1, PIECE, PIECE + 1, PIECE + 5, PIECE + 6, 3 * PIECE, 171])
@torch.no_grad()
def test_pieces_are_as_if_decoded_at_once(both, frames):
    """1e-6 of the largest sample was measured; a joint that forgets the LSTM's state or a neighbour is off by 0.01."""
    model, engine = both
    codes = random_codes(engine, frames)
    whole = model.decode(torch.from_numpy(codes)[None]).numpy()
    ours = engine.decode(codes[None])
    assert ours.shape == whole.shape and np.abs(ours - whole).max() < 1e-5 * max(1.0, np.abs(whole).max())


@pytest.mark.parametrize("frames", [1, 9, 57, 171])
def test_the_torch_decoder_agrees(both, frames, monkeypatch):
    """As on a GPU, in pieces of 10 frames a clip; the engine hands clips to it where it is on one."""
    model, engine = both
    monkeypatch.setattr(torch_decoder, "PIECE", 20)
    codes = np.stack([random_codes(engine, frames), random_codes(engine, frames)[:, ::-1]])
    ours = engine.decode(codes)
    theirs = torch_decoder.TorchDecoder(model, torch.device("cpu")).decode(codes)
    assert theirs.shape == ours.shape and np.abs(theirs - ours).max() < 1e-5 * max(1.0, np.abs(ours).max())


def front(engine, batch=1):
    return Front(engine.session("front.onnx"), batch)


def test_how_codes_arrive_changes_no_bit(both):
    engine = both[1]
    codes = random_codes(engine, 333)
    whole = engine.decode(codes[None])[0, 0]
    for size in (1, 7, 50, 120):
        stream = front(engine)
        pieces = [p for i in range(0, 333, size) for p in stream.push(codes[None, :, i : i + size])]
        pieces += stream.push(codes[None, :, :0], last=True)
        wav = np.concatenate([sound(engine.session("back.onnx"), piece, 0) for piece in reversed(pieces)][::-1])
        np.testing.assert_array_equal(wav, whole)


def test_a_clip_sounds_the_same_alone_and_in_a_batch(both):
    engine = both[1]
    codes = np.stack([random_codes(engine, 200 + i)[:, :200] for i in range(10)])
    whole = engine.decode(codes)
    for rows in ([0], [9], [3, 1], [0, 2, 4, 6, 8]):
        np.testing.assert_array_equal(engine.decode(codes[rows]), whole[rows])


def test_sound_comes_as_soon_as_it_is_certain(both):
    """A second of it after little more than a second of codes, and the memory is that of a piece."""
    engine = both[1]
    stream, count = front(engine), 0
    ahead, size = stream._reach + stream._front, stream._size
    codes = random_codes(engine, 400)[None]
    for t in range(400):
        for piece in stream.push(codes[..., t : t + 1]):
            count += 1
            assert piece.end - piece.begin == size and piece.features.shape[2] <= size + 2 * stream._reach
        assert count == max(0, (t + 1 - ahead) // size)
        assert stream._codes.shape[2] <= size + 2 * ahead and stream._features.shape[2] <= 2 * stream._reach
