"""Sound to codes, piece by piece: the codec's own codes whatever the length, the blocks and the runtime."""

from __future__ import annotations

import errno
import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import soundfile
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from audiocraft_ext.audio.codec import get_codec
from audiocraft_ext.audio.codec.encodec import EncodecConfig, EncodecModel, keep_variance
from audiocraft_ext.core.errors import UserError
from data_prep.audio import encoder
from data_prep.audio.cuts import Piece
from data_prep.audio.encoder import Encoder, ready, runtime_for
from data_prep.audio.entries import Entry, encode

CONFIGS = {
    "lstm, zeros": EncodecConfig(n_filters=4, dimension=16, card=32, ratios=(5, 4, 4, 8), pad_mode="constant"),
    "lstm, reflect": EncodecConfig(n_filters=4, dimension=16, card=32),
    "no lstm": EncodecConfig(n_filters=4, dimension=16, card=32, lstm=0, n_residual_layers=2, ratios=(4, 2)),
    "one codebook": EncodecConfig(n_filters=4, dimension=16, card=32, n_q=1, lstm=1),
}


def noise(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.2, n).astype(np.float32)


def folder_of(path: Path, cfg: EncodecConfig) -> Path:
    """A codec's folder whose codes follow the sound."""
    torch.manual_seed(0)
    model = EncodecModel(cfg)
    keep_variance(model)
    for k, book in enumerate(model.quantizer.codebooks):
        book.embed.mul_(0.4 * 0.8**k)
    path.mkdir()
    save_file(model.state_dict(), path / "codec.safetensors")
    (path / "codec.json").write_text(json.dumps({"config": cfg.to_dict()}))
    return path


@pytest.fixture(scope="module")
def codecs(tmp_path_factory):
    root = tmp_path_factory.mktemp("codecs")
    paths = {name: folder_of(root / name.replace(", ", "_"), cfg) for name, cfg in CONFIGS.items()}
    return {name: (path, get_codec(str(path))) for name, path in paths.items()}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("name", CONFIGS)
def test_codes_are_those_of_the_model_at_any_length(codecs, cache, name):
    """Also where a sound is shorter than a frame, than what a convolution mirrors, or no whole number of frames."""
    _, codec = codecs[name]
    hop, opened = codec.model.cfg.hop_length, Encoder(ready(codec, cache))
    opened._piece = 20
    for n in (1, 2, 3, hop - 1, hop, hop + 1, 2 * hop + 1, 3 * hop, 7 * hop + 3, 20 * hop, 22 * hop, 22 * hop + 1,
              25 * hop - 1, 67 * hop + 5):
        whole = codec.model.encode(torch.from_numpy(noise(n))[None, None])[0].numpy()
        codes = opened.encode([noise(n)])
        assert codes.dtype == np.uint16
        np.testing.assert_array_equal(codes, whole, err_msg=f"{n} samples")


def test_the_embedded_codec_in_onnx_is_the_one_in_torch(cache):
    codec = get_codec("microcodec")
    tones = np.sin(np.cumsum(np.linspace(0.01, 0.7, 200_001))) * np.hanning(200_001) ** 0.1 * 0.6
    for wav in (noise(1), noise(77), noise(128_011), tones.astype(np.float32), np.zeros(3000, np.float32)):
        np.testing.assert_array_equal(Encoder(ready(codec, cache)).encode([wav]), codec.encode(wav))


@pytest.mark.parametrize("runtime", ["onnxruntime", "torch"])
def test_the_size_of_the_blocks_changes_nothing(codecs, cache, runtime):
    path, codec = codecs["lstm, reflect"]
    opened = Encoder(ready(codec, cache, name=str(path), runtime=runtime))
    opened._piece = 10
    wav, rng = noise(640 * 53 + 123), np.random.default_rng(1)
    whole = opened.encode([wav])
    assert len(set(whole[0])) > 8  # not one code for everything
    np.testing.assert_array_equal(opened.encode(wav[i : i + 97] for i in range(0, len(wav), 97)), whole)
    for _ in range(4):
        cuts = np.sort(rng.integers(0, len(wav), 6))
        np.testing.assert_array_equal(opened.encode(np.split(wav, cuts)), whole)


def test_side_by_side_is_one_after_the_other(codecs, cache):
    path, codec = codecs["lstm, zeros"]
    slices = [noise(n, seed) for seed, n in enumerate((3000, 12_800, 3000, 641, 12_800, 3000, 1))]
    for runtime in ("onnxruntime", "torch"):
        opened = Encoder(ready(codec, cache, name=str(path), runtime=runtime))
        opened._piece = 6
        for wav, codes in zip(slices, opened.encode_many(slices), strict=True):
            assert codes.dtype == np.uint16
            np.testing.assert_array_equal(codes, opened.encode([wav]))
            np.testing.assert_array_equal(codes, codec.encode(wav))
    assert opened.encode_many([]) == []


def side_by_side(opened, monkeypatch) -> list[int]:
    """How many sounds go through an encoder at a time, once for each stretch of them."""
    counts, features = [], opened._net.features
    monkeypatch.setattr(opened._net, "features", lambda wav, *more: (counts.append(len(wav)), features(wav, *more))[1])
    return counts


def test_slices_of_a_source_go_side_by_side_in_torch(codecs, cache, monkeypatch):
    """In order, with a long one among them that goes by itself, and no more in memory than is allowed."""
    path, codec = codecs["lstm, reflect"]
    lengths = (3000, 3000, 3001, 3000, 6 * 640, 6 * 640 + 1, 3000, 3000, 1)
    slices = [noise(n, seed) for seed, n in enumerate(lengths)]
    for runtime, expected in (("onnxruntime", None), ("torch", [3, 1, 1, 1, 2, 1])):
        opened = Encoder(ready(codec, cache, name=str(path), runtime=runtime))
        opened._piece = 6
        counts = side_by_side(opened, monkeypatch)
        each = list(opened.encode_each((len(wav), iter(np.array_split(wav, 3))) for wav in slices))
        assert expected is None or counts == expected
        for wav, codes in zip(slices, each, strict=True):
            np.testing.assert_array_equal(codes, opened.encode([wav]))
        monkeypatch.setattr(encoder, "BATCH", 2)  # 7680 samples
        counts.clear()
        again = list(opened.encode_each((len(wav), [wav]) for wav in slices))
        assert expected is None or max(counts) == 2
        for codes, one in zip(each, again, strict=True):
            np.testing.assert_array_equal(codes, one)
        monkeypatch.undo()
    with pytest.raises(ValueError, match="no sound"):
        list(opened.encode_each([(3000, [noise(3000)]), (10, [])]))


def test_a_file_cut_on_the_music_is_prepared_side_by_side(codecs, cache, tmp_path, monkeypatch):
    """The step of the preparation itself, from a file to rows: the same rows as one slice at a time."""
    path, codec = codecs["lstm, reflect"]
    rate = codec.sample_rate
    soundfile.write(tmp_path / "a.wav", noise(5 * 4000 + 9000), rate, "FLOAT")
    pieces = [Piece(at, at + 4000, cut="bars", bpm=100.0, bars=1) for at in range(0, 20_000, 4000)]
    entry = Entry(name="a", of="a", path=str(tmp_path / "a.wav"), split="train", held_out=0.0, mix="mid", dc=0.0,
                  gain_db=-1.0, row_seconds=30.0, pieces=[*pieces, Piece(20_000, 29_000, cut="whole")], variant=None,
                  about={})
    opened = Encoder(ready(codec, cache, name=str(path), runtime="torch"))
    opened._piece = 10
    counts = side_by_side(opened, monkeypatch)
    rows = encode(entry, opened, rate, codec.spec.frame_rate)
    assert counts[0] == 5 and set(counts[1:]) == {1}  # the long one goes by itself
    sound = soundfile.read(tmp_path / "a.wav", dtype="float32")[0] * np.float32(10 ** (-1 / 20))
    for (_, codes, about), piece in zip(rows, entry.pieces, strict=True):
        np.testing.assert_array_equal(codes, opened.encode([sound[piece.start : piece.end]]))
        assert about["at"][0] == piece.start / rate


def test_more_slices_than_fit_side_by_side(codecs, cache, monkeypatch):
    monkeypatch.setattr(encoder, "BATCH", 2)
    path, codec = codecs["no lstm"]
    opened = Encoder(ready(codec, cache, name=str(path), runtime="torch"))
    slices = [noise(800, seed) for seed in range(5)]
    for wav, codes in zip(slices, opened.encode_many(slices), strict=True):
        np.testing.assert_array_equal(codes, codec.encode(wav))


def test_the_graphs_are_written_once_and_named_by_what_is_in_them(codecs, tmp_path):
    _, codec = codecs["no lstm"]
    folder = ready(codec, tmp_path).folder
    stamps = {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}
    assert set(stamps) == {encoder.FEATURES, encoder.CODE, encoder.WEIGHTS}
    assert ready(codec, tmp_path).folder == folder
    assert stamps == {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}
    coarse = get_codec(str(codecs["no lstm"][0]))
    for p in coarse.model.parameters():
        p.data = p.data.half().float()
    assert coarse.hash == codec.hash and ready(coarse, tmp_path).folder != folder
    assert sorted(p.suffix for p in tmp_path.iterdir() if ".tmp" in p.name) == []


@pytest.mark.parametrize("name", [encoder.FEATURES, encoder.CODE, encoder.WEIGHTS])
def test_a_file_of_the_graphs_that_is_gone_is_written_again(codecs, tmp_path, name):
    """The message says so, and the folder of an earlier version may lack one that had another name there."""
    _, codec = codecs["no lstm"]
    opened = ready(codec, tmp_path)
    (opened.folder / name).unlink()
    with pytest.raises(UserError, match="is gone; start again, and it is written anew"):
        Encoder(opened)
    again = ready(codec, tmp_path)
    assert again.folder == opened.folder
    wav = noise(800, 0)
    np.testing.assert_array_equal(next(iter(Encoder(again).encode_many([wav]))), codec.encode(wav))
    assert sorted(p.name for p in tmp_path.iterdir()) == [opened.folder.name]


@pytest.mark.skipif(sys.platform == "win32", reason="needs file size limits")
def test_a_full_disk_is_an_error_of_the_system(codecs, tmp_path):
    """Neither safetensors' own exception nor a folder that is half there."""
    import resource

    _, codec = codecs["no lstm"]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError) as caught:
            ready(codec, tmp_path / "full")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG and "full" in str(caught.value.filename)
    assert list((tmp_path / "full").iterdir()) == []
    assert Encoder(ready(codec, tmp_path / "full")).encode([noise(3000)]).size


def test_an_error_of_safetensors_without_a_number(codecs, tmp_path, monkeypatch):
    def fail(*_):
        raise SafetensorError("something")

    monkeypatch.setattr(safetensors.torch, "save_file", fail)
    with pytest.raises(OSError) as caught:
        ready(codecs["no lstm"][1], tmp_path)
    assert caught.value.errno == errno.EIO


def test_what_encodes_where():
    assert [runtime_for(device) for device in ("cpu", "cuda", "cuda:1", "mps")] == ["onnxruntime"] + 3 * ["torch"]
    with pytest.raises(ValueError, match="no sound"):
        Encoder(ready(get_codec("debug"), Path("unused"), runtime="torch")).encode([np.zeros(0, np.float32)])


def test_a_worker_needs_no_torch_and_little_memory(cache):
    """Twenty minutes in blocks would be 77 MB of samples and as much again in every copy."""
    ref = ready(get_codec("debug"), cache)
    code = f"""if True:
        import pickle, resource, sys
        import numpy as np
        from data_prep.audio.encoder import Encoder
        encoder = Encoder(pickle.loads({pickle.dumps(ref)!r}))
        block = np.random.default_rng(0).normal(0, 0.2, 100_000).astype(np.float32)
        encoder.encode(block for _ in range(20))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        codes = encoder.encode(block for _ in range(384))
        print(codes.shape[1], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
        print(*sorted(set(sys.modules) & {{"torch", "onnx", "scipy", "safetensors"}}))
    """
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    frames, grown = map(int, out[0].split())
    assert frames == 384 * 100_000 // 640 and out[1] == ""
    if sys.platform == "linux":  # KiB
        assert grown < 20_000, f"{grown} KiB more"
