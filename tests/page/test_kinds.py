"""The page with bundles of other make: a spectral codec, a model that hears a metronome; and what it cannot play."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import soundfile as sf
import torch

from audiocraft_ext.audio.instrument import Instrument
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.packing import pack
from audiocraft_ext.engine.bundle import Bundle, find_bundle
from audiocraft_ext.export.bundle import write_bundle
from audiocraft_ext.export.sources import Trained
from audiocraft_ext.model.lm import LM, LMConfig
from audiocraft_ext.page import build
from tests.helpers import tiny
from tests.page.conftest import CACHE
from tests.page.test_play import played


def with_metronome(folder, out):
    """A tiny bundle of a spectral codec whose model has a metronome as its last stream."""
    codec = tiny.tiny_spectral(folder)
    spec = replace(codec.spec, delays=(0, 1, 2)).with_controls(1)
    size = LMConfig(n_q=4, card=128, dim=64, num_heads=2, num_layers=2)
    torch.manual_seed(0)
    write_bundle(out, Trained(spec, size, LM(size, spec.delays, spec.sizes).state_dict(), codec, context=60,
                              sampling={"top_k": 50}, licence="CC0-1.0", card="random weights"))
    return out


@pytest.mark.browser
def test_a_spectral_codec_and_a_metronome(page, node, tmp_path):
    bundle = with_metronome(tmp_path / "codec", tmp_path / "beats")
    assert Bundle(bundle).lm_spec.controls == 1
    out = build.build(tmp_path / "page", [str(bundle)], CACHE)
    assert json.loads((out / "instruments.json").read_text())[0]["decoder"]["state"] is None
    jobs = [{"name": "beats", "asked": {"seed": "3", "seconds": 1.5}},
            {"name": "beats", "asked": {"seed": "3", "bpm": 150, "bars": 1.5}}]
    played(out, node, jobs, tmp_path)
    instrument, results = Instrument.load(bundle, threads=1), json.loads((tmp_path / "results.json").read_text())
    for number, job in enumerate(jobs):
        asked = {name: value for name, value in job["asked"].items() if name != "seed"}
        clip = instrument.generate(seed=3, **asked)[0]
        assert results[number]["codes"] == pack(clip.codes)
        python, ours = sf.read(clip.save(tmp_path / "python"))[0], sf.read(tmp_path / f"{number}.wav")[0]
        assert ours.shape == python.shape and np.abs(ours - python).max() < 1e-3


def test_what_the_page_cannot_play_or_write_over(tmp_path, monkeypatch):
    int4 = tiny.tiny_bundle(tmp_path / "four", precisions=["int4"])
    info = json.loads((int4 / "model.json").read_text()) | {"precision": "int4"}
    (int4 / "model.json").write_text(json.dumps(info))
    with pytest.raises(UserError, match="the page plays fp32 and int8"):
        build.instrument(Bundle(int4))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    monkeypatch.setattr(build, "fetch_runtime", lambda cache: tmp_path)
    with pytest.raises(UserError, match="an earlier page"):
        build.build(tmp_path / "mine", ["drums"])
    assert (tmp_path / "mine" / "thesis.txt").is_file()
    with pytest.raises(UserError, match="different names"):
        build.build(tmp_path / "new", ["drums", "drums"])


def test_drums_that_the_page_cannot_edit_are_refused(tmp_path):
    shutil.copytree(find_bundle("drums"), tmp_path / "hits")
    info = json.loads((tmp_path / "hits" / "model.json").read_text())
    info["codec"]["type"] = "drum_hits"
    (tmp_path / "hits" / "model.json").write_text(json.dumps(info))
    with pytest.raises(UserError, match="the page plays sound, drums of .* has drums of drum_hits; leave it out"):
        build.instrument(Bundle(tmp_path / "hits"))


def test_without_npm_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="install Node.js"):
        build.fetch_runtime(tmp_path)


def test_the_folder_is_a_static_space():
    text = build.space_readme([{"name": "drums", "licence": "CC-BY-4.0"}])
    head = dict(line.split(": ", 1) for line in text.split("---\n")[1].splitlines())
    assert head["sdk"] == "static" and head["app_file"] == "index.html" and "- drums: CC-BY-4.0\n" in text
