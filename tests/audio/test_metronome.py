"""The metronome: its codes, a store that has it, a model that is trained and sampled with it."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from audiocraft_ext.audio import kind, metronome
from audiocraft_ext.audio.instrument import Instrument
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.spec import Spec
from audiocraft_ext.core.split import TRAIN, VALID
from audiocraft_ext.engine import sampler
from audiocraft_ext.engine.guidance import Guide
from audiocraft_ext.engine.sampling import Sampling
from audiocraft_ext.export import sources
from audiocraft_ext.export.bundle import Trained, write_bundle
from audiocraft_ext.model.lm import LM, LMConfig
from audiocraft_ext.store.reader import TokenStore
from audiocraft_ext.store.writer import StoreWriter
from audiocraft_ext.training.dataset import StreamDataset
from tests.helpers import tiny

SPEC = Spec("audio", 3, 100, 50.0, (0, 1, 2), "debug", "0" * 16)
WITH = SPEC.with_controls(1)


def test_a_spec_with_controls_goes_through_json_and_knows_its_clip():
    assert Spec.from_dict(WITH.to_dict()) == WITH
    assert WITH.clip == SPEC and SPEC.clip is SPEC
    assert (WITH.n_q, WITH.delays, WITH.sizes, WITH.controls) == (4, (0, 1, 2, 0), (100, 100, 100, 1), 1)
    assert "controls" not in SPEC.to_dict()


def test_controls_are_the_last_streams_and_have_one_code():
    with pytest.raises(UserError, match="the last streams, of size 1"):
        Spec("audio", 2, 100, 50.0, (0, 1), "debug", "0" * 16, controls=1)


@pytest.mark.parametrize("frames, bpm", [(17, 176.4706), (18, 166.6667), (19, 157.8947)])
def test_at_a_locked_tempo_every_bar_has_the_same_codes(frames, bpm):
    bar = 4 * frames
    codes = metronome.places(8 * bar, 50.0, metronome.locked_bpm(bpm, 50.0))
    assert (codes.reshape(8, bar) == codes[:bar]).all()
    assert codes[0] == 1 and codes[frames] == 25 and codes.max() <= metronome.STEPS
    assert (np.diff(codes[:bar]) > 0).all()


def test_a_bar_may_begin_later():
    assert metronome.places(50, 50.0, 120.0, first=0.5)[25] == 1
    assert metronome.places(50, 50.0, 120.0, first=-0.5)[0] == 25


def test_the_nearest_tempo_with_whole_frames():
    assert metronome.locked_bpm(165.0, 50.0) == pytest.approx(3000 / 18)
    assert metronome.usual_bpm(50.0) == pytest.approx(3000 / 18)


@pytest.fixture
def store(tmp_path):
    with StoreWriter(tmp_path / "store", WITH, {}) as writer:
        for name, split in (("a", TRAIN), ("b", VALID)):
            codes = np.random.default_rng(1).integers(0, 100, (4, 400))
            codes[3] = metronome.places(400, 50.0, 3000 / 18)
            writer.add_rows(name, [(split, codes.astype(np.uint16), {"bpm": 3000 / 18})])
        writer.finish()
    return TokenStore(tmp_path / "store")


def test_some_windows_are_shown_without_it_and_none_of_valid(store):
    train = StreamDataset(store, TRAIN, 50, num_samples=400, drop_controls=0.25).batch(1, range(400))
    without = (train[:, 3] == 0).all(1)
    assert 60 < without.sum() < 140 and (train[~without, 3] > 0).all()
    valid = StreamDataset(store, VALID, 50, drop_controls=0.25)
    assert (valid.batch(1, range(len(valid)))[:, 3] > 0).all()


def test_a_model_plays_at_the_tempo_of_its_data(store, tmp_path):
    rows = [{"split": TRAIN, "bpm": bpm, "frames": frames, "start": start} for bpm, frames, start in
            ((90.0, 100, 0), (120.0, 200, 0), (120.001, 50, 0), (60.0, 1000, 200))]  # of the last nobody is sure
    known = SimpleNamespace(spec=WITH, rows=rows, read=lambda start, n: np.full((4, n), int(start < 100)))
    assert metronome.beat_of(known) == 25.0 and metronome.beat_of(store) == 18.0
    assert metronome.beat_of(SimpleNamespace(spec=WITH, rows=rows[3:], read=known.read)) is None
    codec = tiny.tiny_spectral(tmp_path / "codec")
    spec, size = replace(codec.spec, delays=(0, 1, 2)).with_controls(1), LMConfig(4, 128, 64, 2, 2)
    write_bundle(tmp_path / "house", Trained(spec, size, LM(size, spec.delays, spec.sizes).state_dict(), codec, 60,
                                             codec_config=kind.codec_config(known)))
    instrument = Instrument.load(tmp_path / "house")
    assert instrument.recipe(1, seed=1).bpm == 120 and instrument.recipe(1, seed=1, bpm=90).bpm == 90
    assert sources.read(tmp_path / "house").codec_config["beat_frames"] == 25


class Recorder:
    """A stepper that remembers what it is shown, and gives all codes the same logit."""

    def start(self, batch, capacity):
        self.seen = np.zeros((batch, WITH.n_q, 0), np.int64)

    def step(self, sequence):
        self.seen = np.concatenate([self.seen, sequence], axis=2)
        logits = np.zeros((len(sequence), WITH.n_q, WITH.card), np.float32)
        logits[:, 3, 1:] = -np.inf
        return logits


def test_the_model_is_shown_what_is_given_and_zero_behind_it():
    beat, stepper = metronome.places(30, 50.0, 3000 / 18)[None], Recorder()
    given = sampler.with_controls(None, beat, 2, WITH, 40)
    codes = sampler.generate(stepper, WITH, [0, 1], 40, seed=1, sampling=Sampling(), given=given)
    assert (codes[:, 3, :30] == beat).all() and (codes[:, 3, 30:] == 0).all()
    assert (stepper.seen[:, 3, 1:31] == beat).all()


def test_the_twin_of_a_guided_clip_hears_no_metronome():
    beat, inner = metronome.codes(WITH, 30, 3000 / 18), Recorder()
    given = sampler.with_controls(None, beat, 2, WITH, 30)
    stepper = Guide(2.0).around(inner, WITH)
    codes = sampler.generate(stepper, WITH, [0, 1], 30, seed=1, sampling=Sampling(), given=given)
    assert (codes[:, 3] == beat).all() and (inner.seen[:2, 3, 1:31] == beat).all()
    assert (inner.seen[2:, 3, 1:31] == 0).all() and (inner.seen[2:, :, 0] == WITH.special_id).all()
    assert (inner.seen[:2, :3] == inner.seen[2:, :3]).all()


def test_what_a_twin_does_not_hear_counts_for_more():
    """Logits by hand: a model that adds 1 to the code of the place in the bar."""
    class Inner:
        def start(self, batch, capacity):
            pass

        def step(self, sequence):
            place = sequence[:, 3, -1]
            logits = np.zeros((len(sequence), 4, 100), np.float32)
            logits[np.arange(len(place)), 0, place % 100] = np.where(place % 100 > 0, 1, 0)
            return logits

    stepper = Guide(3.0).around(Inner(), WITH)
    stepper.start(1, 10)
    logits = stepper.step(np.array([[[5], [6], [7], [9]]]))
    assert logits.shape == (1, 4, 100) and logits[0, 0, 9] == 3 and logits.sum() == 3


def test_controls_cost_nothing_and_count_for_nothing():
    torch.manual_seed(0)
    codes = torch.randint(0, 100, (2, 4, 60))
    model = LM(LMConfig(4, 100, 32, 2, 2), WITH.delays, WITH.sizes)
    loss, each = model.losses(codes)
    assert each[3] == 0 and float(loss.detach()) == pytest.approx(float(each[:3].mean()), rel=1e-5)
    loss.backward()
    assert model.linears[3].weight.grad.abs().sum() == 0 and model.emb[3].weight.grad.abs().sum() > 0
