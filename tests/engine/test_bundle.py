"""A bundle is refused, by name, when anything in it is not what model.json says."""

import json
import shutil

import pytest

from audiocraft_ext.audio.engine import SoundBundle
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.engine.bundle import Bundle, find_bundle
from audiocraft_ext.engine.sampling import Sampling
from tests.helpers import tiny

FILES = ["lm.onnx", "lm.safetensors", "encoder.onnx", "front.onnx", "back.onnx", "codec.safetensors"]


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return tiny.tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture
def folder(original, tmp_path):
    return shutil.copytree(original, tmp_path / "tiny")


def edit(folder, **changes):
    info = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(info | changes))


def test_reads_what_was_written(folder):
    bundle = SoundBundle(folder)
    bundle.verify()
    assert bundle.spec == tiny.tiny_trained().spec
    assert bundle.lm.dim == 64 and bundle.sample_rate == 32_000 and bundle.context == 1500
    assert bundle.sampling == Sampling(1.0, 50) and bundle.precision == "fp32" and bundle.precisions == ["fp32"]
    assert bundle.info["licence"] == "CC0-1.0"
    assert sorted(bundle.info["files"]) == sorted(FILES)
    assert max((folder / n).stat().st_size for n in FILES if n.endswith("onnx")) < 30_000  # graphs, no weights


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(UserError, match=f"{name}: missing"):
        Bundle(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_named(folder, name):
    path = folder / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=f"{name}: altered or truncated"):
        Bundle(folder)


@pytest.mark.parametrize("name", FILES)
def test_one_changed_bit_is_named(folder, name):
    data = bytearray((folder / name).read_bytes())
    data[-1] ^= 1
    (folder / name).write_bytes(data)
    bundle = Bundle(folder)  # the size is right
    with pytest.raises(UserError, match=f"{name}: altered, expected sha256"):
        bundle.verify()
    with pytest.raises(UserError, match="altered"):  # and it stays refused
        bundle.verify()


@pytest.mark.parametrize("changes, what", [
    ({"version": 3}, "expected version 2, got 3"),
    ({"version": 1}, "expected version 2, got 1; .*export OLD NEW"),
    ({"precision": "int8"}, "has fp32, not int8"),
    ({"format": "something"}, "expected format"),
    ({"lm": None}, "not a bundle's model.json"),
    ({"spec": {}}, "not a spec"),
    ({"files": {}}, "expected the file lm.onnx"),
])
def test_another_model_json_is_refused(folder, changes, what):
    edit(folder, **changes)
    with pytest.raises(UserError, match=what):
        Bundle(folder)


@pytest.mark.parametrize("name", FILES[2:])
def test_a_codecs_file_that_is_not_listed_is_named(folder, name):
    files = json.loads((folder / "model.json").read_text())["files"]
    edit(folder, files={key: value for key, value in files.items() if key != name})
    Bundle(folder)
    with pytest.raises(UserError, match=f"expected the file {name}"):
        SoundBundle(folder)


@pytest.mark.parametrize("codec, what", [(None, "no audio codec"),
                                         ({"type": "other"}, "of the type encodec or spectral, got 'other'"),
                                         ({"sample_rate": "low"}, "not a bundle's model.json"),
                                         ({}, "not a bundle's model.json")])
def test_another_codec_is_refused(folder, codec, what):
    edit(folder, codec=codec)
    assert Bundle(folder).codec_config == codec
    with pytest.raises(UserError, match=what):
        SoundBundle(folder)


def test_a_file_outside_the_folder_is_refused(folder):
    files = json.loads((folder / "model.json").read_text())["files"]
    edit(folder, files=files | {"../secret": {"sha256": "", "bytes": 0}})
    with pytest.raises(UserError, match="lies in its folder"):
        Bundle(folder)


def test_broken_json(folder):
    (folder / "model.json").write_text("{")
    with pytest.raises(UserError, match="not JSON"):
        Bundle(folder)


def test_finding_one(folder, tmp_path):
    assert find_bundle(folder) == folder
    with pytest.raises(UserError, match="no such bundle; expected"):
        find_bundle(tmp_path / "nowhere")
    with pytest.raises(UserError, match="no model.json"):
        find_bundle(tmp_path)


def test_length_of_a_clip(folder):
    bundle = Bundle(folder)
    assert bundle.frames(10) == 500 and bundle.frames(0.001) == 1 and bundle.frames(30) == 1500
    for seconds in (0, -1, 3601, float("nan")):
        with pytest.raises(UserError, match="at most 3600 s"):
            bundle.frames(seconds)
