"""The table of kinds: every line keeps the protocols and goes the whole way from a model to files; a third kind is one
line; and what all kinds share knows none of them."""

import ast
import inspect
import logging
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import infer
from audiocraft_ext import kinds
from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.packing import RecipeBase
from audiocraft_ext.core.spec import Spec
from audiocraft_ext.engine.bundle import Bundle
from audiocraft_ext.engine.sampling import Sampling
from audiocraft_ext.export import bundle as bundles
from audiocraft_ext.export import soup, sources
from audiocraft_ext.model.lm import LM
from audiocraft_ext.training import samples
from tests.helpers import third_kind
from tests.helpers.drum_bundle import tiny_drummer
from tests.helpers.notes_bundle import tiny_composer
from tests.helpers.songs import tiny_sketcher
from tests.helpers.tiny import tiny_bundle

PACKAGE = Path(kinds.__file__).parent
SHORT = {"audio": dict(seconds=0.5), "drums": dict(bars=2), "notes": dict(bars=2), "song": dict(bars=2),
         "letters": dict(frames=12)}


@pytest.fixture(autouse=True)
def letters(monkeypatch):
    monkeypatch.setitem(kinds.KINDS, third_kind.NAME, third_kind.MODULES)


def write_letters(out: Path) -> Path:
    bundles.write_bundle(out, third_kind.trained())
    return out


@pytest.fixture(scope="module", params=SHORT)
def bundle(request, tmp_path_factory):
    """A tiny one of each kind."""
    make = {"audio": tiny_bundle, "drums": tiny_drummer, "notes": tiny_composer, "song": tiny_sketcher,
            "letters": write_letters}[request.param]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(kinds.KINDS, third_kind.NAME, third_kind.MODULES)
        return make(tmp_path_factory.mktemp("kinds") / request.param)


def functions(of) -> dict[str, list[str]]:
    """The parameters of each public function or method."""
    return {name: [parameter for parameter in inspect.signature(value).parameters if parameter not in ("self", "cls")]
            for name, value in inspect.getmembers(of, inspect.isroutine) if not name.startswith("_")}


@pytest.mark.parametrize("name", [*kinds.KINDS, third_kind.NAME])
def test_every_line_keeps_the_protocols(name):
    line = kinds.modules_of(name)
    module, _, player = line.player.partition(":")
    for where, protocol in ((import_module(line.kind), kinds.Kind), (getattr(import_module(module), player),
                            kinds.Player), (import_module(line.cli), kinds.CommandLine)):
        found = functions(where)
        for function, parameters in functions(protocol).items():
            if function in ("recipe", "load", "build_parser"):  # each takes more of its own
                assert function in found
            else:
                assert found.get(function) == parameters, f"{where}: {function}"


@pytest.mark.parametrize("name", kinds.KINDS)
def test_every_player_names_its_recipes(name):
    module, _, player = kinds.modules_of(name).player.partition(":")
    assert issubclass(getattr(import_module(module), player).RECIPE, RecipeBase)


@pytest.mark.parametrize("name", kinds.FORMATS)
def test_every_format_keeps_the_protocol(name):
    found = functions(kinds.format_of(name))
    assert {function: found.get(function) for function in functions(kinds.Format)} == functions(kinds.Format)


def test_from_a_bundle_to_files(bundle, tmp_path):
    """Nothing here knows the kind but for the length of a clip."""
    player = kinds.player(bundle, threads=1)
    kind, recipe = player.bundle.spec.kind, player.recipe(seed=3, **SHORT[player.bundle.spec.kind])
    told = []
    first, second = player.play(recipe, [0, 1], told.append)
    assert (first.index, second.index) == (0, 1) and told
    (again,) = player.play(recipe, [1])
    np.testing.assert_array_equal(again.codes, second.codes)
    assert not np.array_equal(first.codes, second.codes)
    files = player.save(first, tmp_path / "out")
    assert files and all(file.is_file() and file.stat().st_size for file in files)
    assert len(player.save(second, tmp_path / "out")) == len(files)
    assert sorted((tmp_path / "out").iterdir()) == sorted([*files, *player.save(second, tmp_path / "out")])
    pieces = list(player.stream(recipe, 1))
    if kind == "audio":
        np.testing.assert_allclose(np.concatenate(pieces), second.wav, atol=1e-5)
    elif kind == "notes":
        kept = [0, 2, 3, 4]  # lengths end sooner where a pitch begins anew in a later bar
        assert len(pieces) == 2
        assert sorted(np.concatenate(pieces)[:, kept].tolist()) == sorted(second.score.notes[:, kept].tolist())
    elif kind == "drums":
        assert len(pieces) == 2
        assert sorted(np.concatenate(pieces).tolist()) == sorted(second.clip.notes.tolist())
    elif kind == "song":
        assert len(pieces) == 2
        assert sorted(np.concatenate(pieces).tolist()) == sorted(
            [bar * second.song.parts + note.start, note.end - note.start, channel, pitch]
            for channel, bar, note in second.song.notes() for pitch in note.pitches)
    else:
        np.testing.assert_array_equal(np.concatenate(pieces, axis=1)[:, 1:], second.codes)


def test_a_bundle_is_read_and_written_again_byte_for_byte(bundle, tmp_path):
    model = sources.read(bundle)
    licence = kinds.kind_of(model.spec).codec_licence(model.codec, (None, str(bundle)))
    bundles.write_bundle(tmp_path / "again", model, codec_licence=licence)
    assert {p.name: p.read_bytes() for p in (tmp_path / "again").iterdir()} == \
        {p.name: p.read_bytes() for p in bundle.iterdir()}


def test_the_command_line_finds_the_kind(bundle, tmp_path, capsys):
    length = {"audio": ["-d", "0.5"], "drums": ["--bars", "1"], "notes": ["--bars", "1"],
              "song": ["--bars", "1"],
              "letters": ["--frames", "5"]}[Bundle(bundle).spec.kind]
    infer.main([*length, str(bundle), "-o", str(tmp_path / "out")])
    assert str(tmp_path / "out") in capsys.readouterr().out and any((tmp_path / "out").iterdir())


def test_samples_of_a_model_in_training(bundle, tmp_path):
    class Trackers:
        def sound(self, name, step, wav, rate):
            assert wav.dtype == np.float32 and rate > 0

    model = sources.read(bundle)
    lm = LM(model.cfg, model.spec.delays, model.spec.sizes, model.spec.gates)
    lm.load_state_dict(model.state)
    samples.write_samples(lm.eval(), model.spec, model.codec_config, tmp_path, 2, 16, 1, Sampling(1.0, 0), Trackers(),
                          7, logging.getLogger("test"))
    assert np.load(tmp_path / "codes.npy").shape == (2, model.spec.clip.n_q, model.spec.prompt + 16)
    if model.spec.kind != "audio":  # of a codec that only the bundle has
        assert len(list(tmp_path.glob("clip_*"))) >= 2


def test_a_mixture_has_the_codec_of_its_models(bundle, tmp_path, capsys):
    soup.main([str(bundle), str(bundle), str(tmp_path / "mixed")])
    assert Bundle(tmp_path / "mixed").codec_config == Bundle(bundle).codec_config
    assert next(kinds.player(tmp_path / "mixed", threads=1).play(
        kinds.player(tmp_path / "mixed", threads=1).recipe(seed=0, **SHORT[Bundle(bundle).spec.kind]), [0]))


def test_an_export_says_what_the_kind_has_to_say(tmp_path, capsys):
    bundles.main([str(write_letters(tmp_path / "a")), str(tmp_path / "b")])
    assert capsys.readouterr().out.splitlines()[-1] == "note: these are letters"
    with pytest.raises(UserError, match="audiocraft's format is for sound, and these codes are letters"):
        bundles.main([str(tmp_path / "a"), str(tmp_path / "c"), "--format", "audiocraft"])


def test_a_kind_that_is_not_there_is_named(tmp_path, monkeypatch):
    write_letters(tmp_path / "b")
    monkeypatch.delitem(kinds.KINDS, third_kind.NAME)
    for ask in (lambda: infer.main([str(tmp_path / "b")]), lambda: kinds.player(tmp_path / "b"),
                lambda: sources.read(tmp_path / "b"),
                lambda: kinds.kind_of(Spec("letters", 1, 2, 1.0, (0,), "c", "h"))):
        with pytest.raises(UserError, match="'letters' here; there are audio, drums, notes, song"):
            ask()


SHARED = ("core", "store", "model", "engine", "export", "runs", "training", "kinds.py", "train.py")
# The only places that name kinds; of the last two one says how files of before units are read, and a unit may be called
# as a kind is.
TABLES = {"KINDS", "UNNAMED", "DEFAULT_UNITS", "UNITS"}


@pytest.mark.parametrize("path", sorted(path for place in SHARED for path in
                                        ([PACKAGE / place] if place.endswith(".py") else
                                         (PACKAGE / place).rglob("*.py"))),
                         ids=lambda path: str(path.relative_to(PACKAGE)))
def test_what_is_shared_names_no_kind(path):
    """It asks no spec whether it is of one. (That it imports nothing of one is a law of levels: test_levels.py.)"""
    tree = ast.parse(path.read_text("utf-8"))
    tables = {id(part) for node in ast.walk(tree) if isinstance(node, ast.Assign)
              and {ast.unparse(target) for target in node.targets} & TABLES for part in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in tables:
            assert node.value not in kinds.KINDS, f"line {node.lineno}: {node.value}"
