"""Every grid composes into runs that differ, says the truth about them, and asks for its data first."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest
from dora.conf import SubmitRules
from dora.explore import Herd, Launcher
from dora.shep import Shepherd
from omegaconf import OmegaConf

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.split import TRAIN, VALID
from audiocraft_ext.grids import _explorer
from audiocraft_ext.model.lm import LMConfig
from audiocraft_ext.sweep.shepherd import Shepherd as Ours
from audiocraft_ext.sweep.summary import differences
from audiocraft_ext.train import main, resolve
from audiocraft_ext.training.checks import check_config
from audiocraft_ext.training.dataset import StreamDataset
from tests.helpers.stores import make_store
from tests.training.test_configs import SEED_COMMAND

FOLDER = Path(_explorer.__file__).parent
GRIDS = sorted(path.stem for path in FOLDER.glob("[!_]*.py"))
MICROCODEC = {"n_q": 4, "card": 256}


@pytest.fixture(scope="module")
def launch(tmp_path_factory):
    """The runs of a grid, as ``dora grid`` would find them, with their Slurm settings and the number of calls:
    ``launch(name or explorer)``. Composing takes seconds, so each is done once."""
    folder = tmp_path_factory.mktemp("grids")
    for name in ("debug", "jungle"):
        make_store(folder / "stores" / name, {"a": 100}, {"v": 100})
    made = {}

    def launched(grid):
        if grid not in made:
            herd, calls = Herd(), []
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("MICRO_STORES", str(folder / "stores"))
                patch.setattr(main.dora, "dir", folder / "outputs")
                patch.setattr(Herd, "add_sheep", lambda self, *args, add=Herd.add_sheep: calls.append(add(self, *args)))
                explorer = page(grid).explorer if isinstance(grid, str) else grid
                explorer(Launcher(Shepherd(main), main.get_slurm_config(), herd))
            made[grid] = [sheep.xp for sheep in herd.sheeps.values()], list(herd.slurm_configs.values()), len(calls)
        return made[grid]

    return launched


def page(name: str):
    return import_module(f"audiocraft_ext.grids.{name}")


def test_those_that_are_promised_are_there():
    assert GRIDS == ["data", "debug", "jungle", "lr", "scales"]


@pytest.mark.parametrize("name", GRIDS)
def test_a_grid_composes_into_valid_runs_that_differ(name, launch):
    xps, _, calls = launch(name)
    assert calls == len(xps) >= 4  # two with one signature would be one run
    for xp in xps:
        resolve(xp.cfg)
        check_config(xp.cfg)
        lm = OmegaConf.to_container(xp.cfg.transformer_lm, resolve=True) | MICROCODEC
        OmegaConf.to_container(xp.cfg, resolve=True, throw_on_missing=True)
        assert LMConfig.from_dict(lm).head_dim % 8 == 0  # else it could not be exported
        assert xp.cfg.generate.use  # there is something to hear
    seen = differences([dict(main.get_name_parts(xp)) for xp in xps])
    assert len({tuple(row.items()) for row in seen}) == len(xps)


@pytest.mark.parametrize("name", GRIDS)
def test_a_page_says_what_it_asks_and_how_it_is_called(name):
    text = page(name).__doc__
    assert text.splitlines()[0].endswith(".") and "?" in text.splitlines()[0] or name == "jungle"
    assert f"dora grid {name}" in text and "Look at:" in text


@pytest.mark.parametrize("data, said", [
    ({"dset": "audio/jungle"}, r"none/jungle.*python -m data_prep\.audio SRC .*none/jungle"),
    ({}, "dset=audio/jungle"),
])
def test_missing_data_is_refused_before_anything_is_scheduled(data, said, launch, tmp_path, monkeypatch):
    monkeypatch.setenv("MICRO_STORES", str(tmp_path / "none"))
    explorer = _explorer.grid(lambda launcher: launcher(solver="musicgen/debug", **data))
    herd, shepherd = Herd(), Ours(main)
    explorer(Launcher(shepherd, main.get_slurm_config(), herd))
    with pytest.raises(UserError, match=said):
        shepherd.maybe_submit_lazy(*herd.sheeps.values(), main.get_slurm_config(), SubmitRules())


def test_the_debug_grid_prepares_what_ships_once(monkeypatch, tmp_path):
    monkeypatch.setenv("MICRO_STORES", str(tmp_path))
    calls = []

    def prepare(command, **options):
        calls.append(command)
        make_store(Path(command[4]), {"a": 10}, {"v": 10})
        return _explorer.subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(_explorer.subprocess, "run", prepare)
    for _ in range(2):
        _explorer.shipped_breaks("debug", "--codec", "debug")
    assert len(calls) == 1 and calls[0][1:3] == ["-m", "data_prep.audio"]
    assert calls[0][3:] == [str(_explorer.BREAKS), str(tmp_path / "debug"), "--codec", "debug"]


def test_what_cannot_be_prepared_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("MICRO_STORES", str(tmp_path))
    monkeypatch.setattr(_explorer.subprocess, "run", lambda command, **options: _explorer.subprocess.CompletedProcess(
        command, 2, "", "error: no space left\n"))
    with pytest.raises(UserError, match="could not be prepared: error: no space left"):
        _explorer.shipped_breaks("debug")


def test_the_document_lists_them_with_the_number_of_their_runs(launch):
    text = (FOLDER.parents[1] / "docs" / "SWEEPS.md").read_text("utf-8")
    said = {name: int(n) for name, n in re.findall(r"^\| `(\w+)` \| .* \| (\d+) \|$", text, re.M)}
    assert said == {name: len(launch(name)[0]) for name in GRIDS}


def test_the_debug_grid_wants_little(launch):
    xps, slurms, _ = launch("debug")
    assert len(xps) == 4 and len({(xp.cfg.optim.lr, xp.cfg.transformer_lm.dim) for xp in xps}) == 4
    assert {(slurm.gpus, slurm.time) for slurm in slurms} == {(0, 10)}


def test_the_sizes_in_scales_are_true(launch):
    """To the printed digit; and equal is equal within a few per cent."""
    said = re.findall(r"^    (\w+ ?\w+) +(\d+) layers of +(\d+) +([\d.]+) M", page("scales").__doc__, re.M)
    counts = []
    for (name, layers, dim, millions), xp in zip(said, launch("scales")[0], strict=True):
        lm = LMConfig.from_dict(OmegaConf.to_container(xp.cfg.transformer_lm, resolve=True) | MICROCODEC)
        assert (name, int(layers), int(dim)) == (name, lm.num_layers, lm.dim)
        assert f"{lm.parameter_count() / 1e6:.2f}" == millions
        counts.append((name, lm.parameter_count()))
    sizes = dict(counts)
    for name in ("nano", "micro"):
        same = [size for other, size in counts if other.endswith(name)]
        assert len(same) >= 2 and all(abs(size / sizes[name] - 1) < 0.04 for size in same)
        scale = main.get_xp(["solver=musicgen/micro_32khz", f"model/lm/model_scale={name}"]).cfg.transformer_lm
        lm = LMConfig.from_dict(OmegaConf.to_container(scale, resolve=True) | MICROCODEC)
        assert lm.parameter_count() == sizes[name]


def test_jungle_begins_with_the_run_of_the_readme(launch):
    xps, _, _ = launch("jungle")
    assert xps[0].sig == main.get_xp(SEED_COMMAND).sig


def test_the_shares_of_data_are_nested_and_as_large_as_they_say(tmp_path):
    store = make_store(tmp_path / "store", {f"t{i}": 40 + i for i in range(64)}, {"v": 50})
    total = sum(track.frames for track in store.tracks(TRAIN))
    last: set[str] = set()
    for share in (1 / 16, 1 / 4, 0.5, 1.0):
        tracks = StreamDataset(store, TRAIN, 10, seed=3, share=share).tracks
        frames = sum(track.frames for track in tracks)
        assert share * total <= frames * 1.000001 and frames < share * total + 104
        names = {track.source for track in tracks}
        assert last < names
        last = names
    assert [t.source for t in tracks] == [t.source for t in StreamDataset(store, TRAIN, 10, seed=3).tracks]
    few = [{t.source for t in StreamDataset(store, TRAIN, 10, seed=seed, share=0.1).tracks} for seed in (3, 3, 4)]
    assert few[0] == few[1] != few[2]
    assert len(StreamDataset(store, TRAIN, 10, share=1e-9).tracks) == 1
    assert StreamDataset(store, VALID, 10, share=0.1).tracks == StreamDataset(store, VALID, 10).tracks


@pytest.mark.parametrize("share", [0, -1, 1.5])
def test_a_share_that_is_none_is_refused(share, tmp_path):
    store = make_store(tmp_path / "store", {"a": 40}, {"v": 50})
    with pytest.raises(UserError, match=r"dataset\.train\.share"):
        StreamDataset(store, TRAIN, 10, share=share)
