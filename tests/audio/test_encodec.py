"""Our EnCodec against transformers' and audiocraft's, on random weights: the same codes, the same sound."""

from __future__ import annotations

import importlib.util
import warnings

import numpy as np
import pytest
import torch

from audiocraft_ext.audio.codec import get_codec
from audiocraft_ext.audio.codec.encodec import EncodecConfig, EncodecModel, from_audiocraft, to_audiocraft

pytestmark = pytest.mark.peers
TOLERANCE = 1e-5  # float32; measured 0 with torch 2.13 on a CPU, other builds may sum in another order
LENGTHS = (1, 300, 640, 641, 1279, 6400, 9999)  # samples; the hop is 640


def spread(model: torch.nn.Module, seed: int = 0) -> None:
    """Random weights that keep the variance, so that codes follow the sound and rounding is put to the test."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith(("original0", "weight_g")):
                p.copy_(0.8 + 0.4 * torch.rand(p.shape, generator=generator))  # the norm of a whole filter
            elif p.ndim == 3:
                p.copy_(torch.randn(p.shape, generator=generator) * (p.shape[1] * p.shape[2]) ** -0.5)
            else:
                p.copy_(torch.randn(p.shape, generator=generator) * 0.1)
        for name, b in model.named_buffers():
            if name.endswith("embed"):
                b.copy_(torch.randn(b.shape, generator=generator) * 0.3)


def sound(n: int, batch: int = 2) -> torch.Tensor:
    """``[B, 1, N]``: noise on a falling tone."""
    t = torch.arange(n) / 32_000
    tone = torch.sin(2 * torch.pi * 200 * torch.exp(-2 * t) * t)
    return 0.4 * tone + 0.1 * torch.randn(batch, 1, n, generator=torch.Generator().manual_seed(n))


def compare(ours: EncodecModel, encode, decode, lengths=LENGTHS) -> None:
    for n in lengths:
        wav = sound(n)
        with torch.no_grad():
            codes = ours.encode(wav)
            assert codes.shape == (2, ours.cfg.n_q, -(-n // ours.cfg.hop_length))
            assert torch.equal(codes, encode(wav)), n
            torch.testing.assert_close(ours.decode(codes), decode(codes), atol=TOLERANCE, rtol=0)
    assert codes.unique().numel() > min(ours.cfg.card // 4, codes.shape[-1])  # one code for everything proves nothing


def save_public(path, num_filters: int = 4, codebook_size: int = 64, hidden_size: int = 16):
    transformers = pytest.importorskip("transformers")
    config = transformers.EncodecConfig(
        target_bandwidths=[4 * 50 * (codebook_size - 1).bit_length() / 1000], sampling_rate=32_000,
        upsampling_ratios=[8, 5, 4, 4], num_filters=num_filters, codebook_size=codebook_size, hidden_size=hidden_size,
        codebook_dim=hidden_size, use_causal_conv=False, use_conv_shortcut=False)
    torch.manual_seed(0)
    model = transformers.EncodecModel(config).eval()
    spread(model)
    model.save_pretrained(path)
    return model


@pytest.mark.parametrize("size", [{}, {"num_filters": 64, "codebook_size": 2048, "hidden_size": 128}],
                         ids=["small", "full"])
def test_transformers(tmp_path, size):
    """The folder that transformers saves is read by our reader and gives transformers' codes and sound."""
    theirs = save_public(tmp_path, **size)
    codec = get_codec("encodec_32khz", tmp_path)
    assert codec.model.cfg.n_q == 4 and codec.spec.frame_rate == 50
    assert not size or codec.model.cfg == EncodecConfig()
    compare(codec.model, lambda wav: theirs.encode(wav).audio_codes[0],
            lambda codes: theirs.decode(codes[None], [None]).audio_values, LENGTHS if not size else (9999,))
    wav = sound(9999)[0, 0].numpy()
    np.testing.assert_array_equal(codec.encode(wav), theirs.encode(torch.from_numpy(wav)[None, None]).audio_codes[0, 0])


def test_a_named_folder_is_known_as_the_public_codec(tmp_path):
    save_public(tmp_path)
    codec = get_codec(str(tmp_path))
    assert codec.name == "encodec_32khz" and codec.hash == get_codec("encodec_32khz", tmp_path).hash


def audiocraft_model(norm: str, cfg: EncodecConfig):
    if importlib.util.find_spec("audiocraft") is None:
        pytest.fail("audiocraft is not installed: set up with 'make test'")
    import audiocraft_ext.compat  # noqa: F401 (makes audiocraft importable)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own about the old weight_norm
        from audiocraft.models.encodec import EncodecModel as Theirs
        from audiocraft.modules.seanet import SEANetDecoder, SEANetEncoder
        from audiocraft.quantization import ResidualVectorQuantizer

        seanet = dict(channels=1, dimension=cfg.dimension, n_filters=cfg.n_filters, ratios=list(cfg.ratios), norm=norm,
                      lstm=cfg.lstm, pad_mode=cfg.pad_mode, n_residual_layers=cfg.n_residual_layers,
                      kernel_size=cfg.kernel_size, last_kernel_size=cfg.last_kernel_size, true_skip=True,
                      residual_kernel_size=cfg.residual_kernel_size, dilation_base=cfg.dilation_base,
                      compress=cfg.compress)
        return Theirs(SEANetEncoder(**seanet), SEANetDecoder(**seanet),
                      ResidualVectorQuantizer(dimension=cfg.dimension, n_q=cfg.n_q, bins=cfg.card),
                      frame_rate=cfg.frame_rate, sample_rate=cfg.sample_rate, channels=1).eval()


CONFIGS = {
    "public": EncodecConfig(n_filters=4, dimension=16, card=64),
    "microcodec": EncodecConfig(n_filters=4, dimension=16, card=64, ratios=(5, 4, 4, 8), pad_mode="constant"),
    "odd": EncodecConfig(n_filters=4, dimension=16, card=64, ratios=(5, 3), lstm=0, n_residual_layers=2, kernel_size=5),
}


@pytest.mark.parametrize("cfg", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("norm", ["none", "weight_norm"])
def test_audiocraft(norm, cfg):
    """audiocraft's weights in our model, with weight norm or without."""
    theirs = audiocraft_model(norm, cfg)
    spread(theirs)
    ours = EncodecModel(cfg).eval()
    ours.load_state_dict(from_audiocraft(theirs.state_dict()))
    compare(ours, lambda wav: theirs.encode(wav)[0], theirs.decode)


@pytest.mark.parametrize("cfg", CONFIGS.values(), ids=CONFIGS)
def test_round_trip_to_audiocraft(cfg):
    """Our weights load strictly into audiocraft's model, sound the same there, and come back unchanged."""
    ours, theirs = EncodecModel(cfg).eval(), audiocraft_model("none", cfg)
    spread(ours)
    theirs.load_state_dict(to_audiocraft(ours.state_dict()))
    compare(ours, lambda wav: theirs.encode(wav)[0], theirs.decode)
    back = from_audiocraft(theirs.state_dict())
    assert back.keys() == ours.state_dict().keys()
    assert all(torch.equal(back[name], value) for name, value in ours.state_dict().items())
