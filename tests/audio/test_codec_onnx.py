"""The codec's two ONNX graphs against the torch model."""

import numpy as np
import pytest
import torch

from audiocraft_ext.audio.codec.encodec import EncodecConfig
from audiocraft_ext.audio.engine import SoundEngine
from tests.helpers import tiny

SIZES = {
    "reflect": tiny.CODEC_SIZE,
    "constant": EncodecConfig(n_filters=4, ratios=(8, 5, 4, 4), dimension=16, card=96, lstm=2, pad_mode="constant"),
    "no lstm, odd": EncodecConfig(n_filters=6, ratios=(5, 3), dimension=8, card=96, lstm=0, n_residual_layers=2,
                                  residual_kernel_size=5, last_kernel_size=5),
}


@pytest.fixture(scope="module", params=SIZES, ids=list(SIZES))
def both(request, tmp_path_factory):
    codec = tiny.tiny_codec(SIZES[request.param])
    return codec.model, SoundEngine(tiny.tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny", codec=codec))


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 50])
@torch.no_grad()
def test_codes_and_sound_agree(both, frames):
    model, engine = both
    wav = torch.randn(2, 1, frames * model.cfg.hop_length, generator=torch.Generator().manual_seed(frames))
    codes = model.encode(wav)
    ours = engine.encode(wav.numpy())
    # A vector between two code words may fall to either side in another order of additions.
    assert (ours == codes.numpy()).mean() > 0.99
    sound = model.decode(codes).numpy()
    assert np.abs(engine.decode(codes.numpy()) - sound).max() < 1e-4 * max(1.0, np.abs(sound).max())
    if frames == 50:
        assert len(codes.unique()) > 10 and sound.std() > 1e-3
