"""The spectral codec: pieces are the whole, the graphs are the model, and its files are found for what they are."""

from __future__ import annotations

import json

import numpy as np
import onnxruntime as ort
import pytest
import torch
from safetensors.torch import save_file

from audiocraft_ext.audio.codec import get_codec
from audiocraft_ext.audio.codec.audiocraft import write as write_audiocraft
from audiocraft_ext.audio.codec.codec import Codec, stream
from audiocraft_ext.audio.codec.decoder import Front, sound
from audiocraft_ext.audio.codec.onnx import write_decoder, write_encoder
from audiocraft_ext.audio.codec.spectral import SpectralConfig, SpectralModel, overlap_add
from audiocraft_ext.audio.codec.spectral_onnx import PIECE
from audiocraft_ext.audio.codec.torch_decoder import TorchDecoder
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.model.lm import LMConfig
from data_prep.audio.encoder import Encoder, ready
from tests.helpers.tiny import SPECTRAL_SIZE as TINY
from tests.helpers.tiny import tiny_lm, tiny_spectral, tiny_trained


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("codec")
    tiny_spectral(path)
    return path


@pytest.fixture(scope="module")
def model(folder) -> SpectralModel:
    return get_codec(str(folder)).model


def noise(n: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=n) * 0.1).astype(np.float32)


def codes_of(frames: int, batch: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, TINY.card, (batch, TINY.n_q, frames))


def test_shapes_and_what_is_refused(model):
    codes = model.encode(torch.from_numpy(noise(640 * 7 + 1))[None, None])
    assert codes.shape == (1, 3, 8) and 0 <= codes.min() and codes.max() < TINY.card
    assert model.decode(codes).shape == (1, 1, 640 * 8)
    with pytest.raises(ValueError, match="mono audio"):
        model.encode(torch.zeros(1, 2, 640))
    with pytest.raises(ValueError, match="windows that fit a hop"):
        SpectralConfig(n_fft_out=1000)
    for wrong in ({"hop": 0}, {"kernel": 4}, {"n_q": -1}, {"encoder": [8]}):
        with pytest.raises(ValueError, match="expected sizes of 1 or more, an odd kernel and two rates"):
            SpectralConfig(**wrong)


def test_the_inverse_stft_inverts(model):
    """A spectrum said exactly comes back as the sound that it is of, to its very ends."""
    wav = torch.from_numpy(noise(320 * 40))[None]
    side = (TINY.n_fft_out - TINY.hop) // 2
    spec = torch.stft(torch.nn.functional.pad(wav, (side, side)), TINY.n_fft_out, TINY.hop, center=False,
                      window=torch.hann_window(TINY.n_fft_out), return_complex=True).transpose(1, 2)
    spoken = torch.cat([spec.abs().clamp(min=1e-9).log(), spec.real * 1e6, spec.imag * 1e6], -1)
    torch.testing.assert_close(model.decoder.synthesise(spoken), wav, atol=1e-5, rtol=0)


def test_overlap_add():
    frames = torch.arange(12.0).reshape(1, 3, 4)
    out = torch.zeros(1, 8)
    for i in range(3):
        out[:, 2 * i: 2 * i + 4] += frames[:, i]
    torch.testing.assert_close(overlap_add(frames, 2), out)


@pytest.mark.parametrize("piece", [1, 7, 50])
def test_pieces_are_the_whole(model, piece):
    wav, codes = torch.from_numpy(noise(640 * 90 + 100))[None, None], torch.from_numpy(codes_of(90))
    z, whole = model.encoder(wav), model.decode(codes)
    pieces = list(stream(model.encoder.layers, wav, 640, 1, torch.device("cpu"), piece))
    torch.testing.assert_close(torch.cat(pieces, -1), z, atol=1e-4, rtol=1e-4)
    pieces = list(stream(model.decoder.layers, model.quantizer.decode(codes), 1, 640, torch.device("cpu"), piece))
    torch.testing.assert_close(torch.cat(pieces, -1), whole, atol=1e-5, rtol=0)


def test_a_frame_sees_as_far_as_it_says_and_no_farther(model):
    """Both halves: a change just outside of the reach changes nothing, one at its end does."""
    wav, at = torch.from_numpy(noise(640 * 81))[None, None], 40
    reach = int(np.ceil(model.encoder.reach))
    far, near = wav.clone(), wav.clone()
    far[..., : 640 * (at - reach)] += 1
    near[..., 640 * (at - reach + 1): 640 * (at - reach + 2)] += 1
    here = model.encoder(wav)[..., at]
    assert torch.equal(model.encoder(far)[..., at], here) and not torch.equal(model.encoder(near)[..., at], here)
    codes, reach = torch.from_numpy(codes_of(81)), int(np.ceil(model.decoder.reach))
    far, near = codes.clone(), codes.clone()
    far[..., : at - reach] += 1
    near[..., at - reach + 1] += 1
    span = slice(640 * at, 640 * (at + 1))
    here = model.decode(codes)[..., span]
    assert torch.equal(model.decode(far % TINY.card)[..., span], here)
    assert not torch.equal(model.decode(near % TINY.card)[..., span], here)


def session(path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(str(path), options)


@pytest.fixture(scope="module", params=[torch.float32, torch.float16], ids=["fp32", "fp16"])
def graphs(request, model, tmp_path_factory):
    """The three graphs, and the model with the weights as they are stored."""
    path = tmp_path_factory.mktemp("graphs")
    state = {k: v.to(request.param).contiguous() for k, v in model.state_dict().items()}
    save_file(state, path / "codec.safetensors")
    write_encoder(TINY, path / "codec.safetensors", path / "encoder.onnx")
    write_decoder(TINY, path / "codec.safetensors", path / "front.onnx", path / "back.onnx")
    same = SpectralModel(TINY)
    same.load_state_dict({k: v.float() for k, v in state.items()})
    return {name: session(path / f"{name}.onnx") for name in ("encoder", "front", "back")}, same.eval()


@torch.inference_mode()
def test_the_graphs_are_the_model(graphs):
    sessions, model = graphs
    wav = noise(640 * 120)[None, None]
    codes, = sessions["encoder"].run(["codes"], {"wav": wav})
    assert (codes != model.encode(torch.from_numpy(wav)).numpy()).mean() < 1e-2  # rounding may tip a tie
    features, = sessions["front"].run(["features"], {"codes": codes})
    want = model.decode(torch.from_numpy(codes)).numpy()
    assert np.abs(want).max() > 0.1
    np.testing.assert_allclose(sessions["back"].run(["wav"], {"features": features})[0], want, atol=1e-4)


@torch.inference_mode()
def test_a_players_pieces_do_not_depend_on_how_codes_arrive(graphs):
    """Nor on what else is in the batch: to the bit. And they are what one pass gives."""
    sessions, model = graphs
    codes = codes_of(2 * PIECE + 70, batch=3)

    def played(codes: np.ndarray, sizes: list[int], row: int) -> np.ndarray:
        front, wavs = Front(sessions["front"], len(codes)), []
        for begin, end in zip([0, *np.cumsum(sizes)], np.cumsum(sizes)):
            pieces = front.push(codes[..., begin:end], last=end == codes.shape[2])
            wavs += [sound(sessions["back"], piece, row) for piece in pieces]
        return np.concatenate(wavs)

    whole = played(codes, [codes.shape[2]], 1)
    np.testing.assert_array_equal(played(codes[1:2], [1] * codes.shape[2], 0), whole)
    np.testing.assert_allclose(whole, model.decode(torch.from_numpy(codes))[1, 0], atol=1e-4)
    torch_wav = TorchDecoder(model, torch.device("cpu")).decode(codes)
    np.testing.assert_allclose(torch_wav[1, 0], whole, atol=1e-4)


@pytest.mark.parametrize("runtime", ["onnxruntime", "torch"])
def test_data_prep_encodes_with_it(folder, tmp_path, runtime):
    codec = get_codec(str(folder))
    encoder = Encoder(ready(codec, tmp_path, name=str(folder), runtime=runtime))
    wav = noise(640 * 700 + 17)
    codes = encoder.encode(np.array_split(wav, 5))
    assert codes.shape == (3, 701) and codes.dtype == np.uint16
    assert (codes != codec.encode(wav)).mean() < 1e-2


def test_a_folder_says_its_type(folder, model, tmp_path):
    codec = get_codec(str(folder))
    assert isinstance(codec.model, SpectralModel) and codec.model.cfg == TINY and codec.name == "mine"
    assert codec.type == "spectral" and get_codec("debug").type == "encodec"
    assert (codec.spec.n_q, codec.spec.card, codec.spec.frame_rate) == (3, TINY.card, 50.0)
    wav = noise(6400)
    np.testing.assert_array_equal(codec.encode(wav), model.encode(torch.from_numpy(wav)[None, None])[0])
    other = tmp_path / "other"
    other.mkdir()
    (other / "codec.json").write_text(json.dumps({"type": "wavelet", "config": {}}))
    with pytest.raises(UserError, match="a codec of the type 'wavelet'; this version knows encodec, spectral"):
        get_codec(str(other))
    for wrong in ({"n_fft_out": 1000}, {"hop": 0}, {"hop": "a"}, {"encoder": 5}, {"depth": 3}, None):
        (other / "codec.json").write_text(json.dumps({"type": "spectral", "config": wrong}))
        with pytest.raises(UserError, match="not the configuration of a codec"):
            get_codec(str(other))


def test_a_bundle_holds_one(folder, tmp_path):
    codec = get_codec(str(folder))
    about = {"spec": codec.spec.to_dict(), "codec": {"type": "spectral", "config": TINY.to_dict()}}
    (tmp_path / "model.json").write_text(json.dumps(about))
    (tmp_path / "codec.safetensors").write_bytes((folder / "codec.safetensors").read_bytes())
    again = get_codec(str(tmp_path))
    assert (again.name, again.hash) == ("mine", codec.hash) and isinstance(again.model, SpectralModel)


def test_the_first_codebooks_are_a_codec(folder):
    codec = get_codec(str(folder))
    fewer, wav = codec.first(2), noise(6400)
    codes = fewer.encode(wav)
    np.testing.assert_array_equal(codes, codec.encode(wav)[:2])
    assert fewer.spec.n_q == 2 and fewer.hash == codec.hash
    want = codec.model.decode(torch.from_numpy(codes.astype(np.int64))[None])[0, 0]
    np.testing.assert_allclose(fewer.decode(codes), want, atol=1e-6)
    with pytest.raises(UserError, match="has 3 codebooks; expected 1 to 3, got 4"):
        codec.first(4)
    with pytest.raises(UserError, match="with all its 4 codebooks, not with 2"):
        get_codec("debug").first(2)


def test_audiocraft_cannot_have_it(folder, tmp_path):
    codec = get_codec(str(folder))
    lm = tiny_lm(LMConfig(n_q=3, card=TINY.card, dim=64, num_heads=2, num_layers=2), (0, 1, 2))
    with pytest.raises(UserError, match="holds EnCodecs, and the codec mine is of the type spectral"):
        write_audiocraft(tmp_path / "out", tiny_trained(lm, codec))
    assert not list(tmp_path.iterdir())


def test_a_codec_made_in_memory(model):
    codec = Codec("x", model, "feed")
    assert codec.sample_rate == 32_000 and codec.decode(codec.encode(noise(1000))).shape == (1280,)
