"""audiocraft under `audiocraft_ext.compat`: what stands in for absent packages, and what is mended.

How imports turn out is tested in fresh processes. Most of them get small made-up packages instead of audiocraft and
torchaudio, so that they are quick and say the same on every machine.
"""

from __future__ import annotations

import audiocraft_ext.compat as compat

# isort: split
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
import torch
import torchaudio
from audiocraft.data import audio as audiocraft_audio
from audiocraft.models import MusicGen, builders, loaders
from audiocraft.modules import conditioners, transformer
from audiocraft.utils import export
from omegaconf import OmegaConf

from audiocraft_ext.model import checkpoint

pytestmark = pytest.mark.peers
REPOSITORY = Path(__file__).parents[2]
needs = {name: pytest.mark.skipif(compat.status[name] == "real", reason=f"the real {name} is here")
         for name in ("xformers", "spacy", "ffmpeg")}

# --- imports, in fresh processes ------------------------------------------------------------------------------------

FAKE = {
    "audiocraft/__init__.py": "import xformers, spacy, torchaudio\n"
                              "from xformers import ops\nfrom . import data, models",
    "audiocraft/data/__init__.py": "from . import audio",
    "audiocraft/data/audio.py": "def _piping_to_ffmpeg(): pass",
    "audiocraft/models/__init__.py": "from . import loaders",
    "audiocraft/models/loaders.py": "def _delete_param(cfg, name): pass",
    "torchaudio/__init__.py": "load = save = 'real'",
    "xformers/__init__.py": "",
    "xformers/ops.py": "unbind = LowerTriangularMask = memory_efficient_attention = 'real'",
    "spacy/__init__.py": "load = 'real'",
}


WARM = """
import json, os, sys, traceback
import omegaconf, torch

for line in sys.stdin:
    folder, code = json.loads(line)
    if os.fork() == 0:
        os.chdir(folder)
        sys.path.insert(0, folder)
        os.dup2(os.open("stdout", os.O_WRONLY | os.O_CREAT), 1)
        os.dup2(os.open("stderr", os.O_WRONLY | os.O_CREAT), 2)
        status = 1
        try:
            exec(code, {"__name__": "__main__"})
            status = 0
        except SystemExit as stop:
            status = stop.code
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
"""


@pytest.fixture(scope="module")
def warm():
    """A process that has imported torch, which takes most of the time, and forks a fresh one for each test."""
    if not hasattr(os, "fork"):
        pytest.skip("needs fork")
    with subprocess.Popen([sys.executable, "-c", WARM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                          env=os.environ | {"PYTHONPATH": str(REPOSITORY)}) as process:
        yield process
        process.stdin.close()


@pytest.fixture
def fresh(warm, tmp_path):
    """Run code in a process that finds ``files`` (path -> content; None: hide it) before anything that is installed."""

    def run(code: str, files: dict[str, str | None], expect: int = 0) -> str:
        for name, content in files.items():
            if content is not None:
                (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / name).write_text(content)
        hidden = {name.split("/")[0] for name, content in files.items() if content is None}
        hide = ("import sys\nclass Hide:\n"
                "    def find_spec(name, path=None, target=None):\n"
                f"        if name in {hidden!r}: raise ModuleNotFoundError('hidden', name=name)\n"
                "sys.meta_path.insert(0, Hide)\n") if hidden else ""
        warm.stdin.write(json.dumps([str(tmp_path), hide + code]) + "\n")
        warm.stdin.flush()
        status = int(warm.stdout.readline())
        errors = (tmp_path / "stderr").read_text()
        assert status == expect, errors
        return errors if expect else (tmp_path / "stdout").read_text()

    return run


def test_real_packages_are_used_untouched(fresh):
    fresh("import audiocraft_ext.compat as c, spacy, torchaudio, xformers.ops\n"
        "assert c.status['xformers'] == c.status['spacy'] == c.status['torchaudio'] == 'real', c.status\n"
        "assert [spacy.load, torchaudio.load, torchaudio.save, xformers.ops.unbind] == ['real'] * 4\n"
        "import audiocraft; assert audiocraft.ops is xformers.ops and audiocraft.spacy is spacy", FAKE)


ABSENT = "which is not installed: pip install {}"
BROKEN = "which is installed but does not work (OSError: libcudart.so.12)"
REPLACED = """
import audiocraft_ext.compat as c, importlib.util, pickle, sys, torch
import audiocraft
from xformers import ops
from xformers.ops import LowerTriangularMask, memory_efficient_attention

assert ops is audiocraft.ops and ops.unbind is torch.unbind
assert c.status["xformers"] != "real" != c.status["spacy"]
assert "spacy" not in sys.modules, "others must not take it for the real one"

# transformers and others ask find_spec, which raises for a module without a spec
assert importlib.util.find_spec("xformers") and importlib.util.find_spec("xformers.ops")
assert importlib.util.find_spec("xformers.profiler") is None
try: from xformers.profiler import profile
except ImportError as error: assert "xformers" in str(error)
pickle.whichmodule(object(), "x")  # asks every module in sys.modules for a name

for use in lambda: audiocraft.spacy.load("en"), lambda: memory_efficient_attention(1, 2, 3):
    try: use()
    except c.MissingPackage as error: print(error)
"""


@pytest.mark.parametrize("ops, spacy, why", [
    (None, None, [ABSENT.format("xformers"), ABSENT.format("spacy")]),
    ("raise OSError('libcudart.so.12')", "raise OSError('libcudart.so.12')", [BROKEN, BROKEN]),
    ("unbind = 'real, but the others are gone'", "import no_such_dependency",
     ["has no attribute 'LowerTriangularMask'", "No module named 'no_such_dependency'"])])
def test_absent_and_broken_packages_are_replaced(fresh, ops, spacy, why):
    files = FAKE | {"xformers/ops.py": ops, "spacy/__init__.py": spacy}
    if ops is None:
        files["xformers/__init__.py"] = None
    said = fresh(REPLACED, files).splitlines()
    assert len(said) == 2
    assert "spacy.load" in said[0] and "the package 'spacy'" in said[0] and why[1] in said[0]
    assert "the package 'xformers'" in said[1] and why[0] in said[1]


TORCHAUDIO = {  # as 2.9 and later are laid out: the extension is loaded when the package is imported
    "torchaudio/__init__.py": "from . import _extension, functional\n"
                              "def load(*a, **k): raise ImportError('TorchCodec is required')\n"
                              "save = load_with_torchcodec = load",
    "torchaudio/_extension/__init__.py": "from torchaudio._internal.module_utils import is_module_available\n"
                                         "from .utils import _load_lib\nAVAILABLE = _load_lib('libtorchaudio')",
    "torchaudio/_extension/utils.py": "def _load_lib(lib): raise OSError('libcudart.so.13: cannot open')",
    "torchaudio/_internal/__init__.py": "",
    "torchaudio/_internal/module_utils.py": "def is_module_available(*names): return True",
    "torchaudio/functional/__init__.py": "from . import filtering",
    "torchaudio/functional/filtering.py": "_lfilter_core_loop = 'slow'",
    "torchcodec/__init__.py": None,
}


def test_a_torchaudio_whose_library_does_not_load(fresh, tmp_path):
    soundfile.write(tmp_path / "a.wav", [[0.5, -0.5]] * 10, 8000)
    fresh("import audiocraft_ext.compat as c, torchaudio\n"
        "assert torchaudio._extension.AVAILABLE is False and 'compiled' in c.status['torchaudio']\n"
        "assert torchaudio.functional.filtering._lfilter_core_loop != 'slow'\n"
        "assert torchaudio.load('a.wav')[0].tolist() == [[.5] * 10, [-.5] * 10]", FAKE | TORCHAUDIO)


def test_a_torchaudio_before_2_9(fresh):
    """It asks whether the library is there before it loads it, and its load needs no torchcodec: it is kept."""
    fresh("import audiocraft_ext.compat as c, torchaudio\nassert torchaudio._extension.AVAILABLE is False\n"
        "assert torchaudio.load == 'real' and torchaudio._extension.utils\n"
        "assert torchaudio._internal.module_utils.is_module_available('numpy')",
        FAKE | TORCHAUDIO | {
            "torchaudio/__init__.py": "from . import _extension, functional\nload = save = 'real'",
            "torchaudio/_extension/__init__.py":
                "from torchaudio._internal.module_utils import is_module_available\nfrom .utils import _load_lib\n"
                "AVAILABLE = is_module_available('torchaudio.lib._torchaudio')\n"
                "if AVAILABLE and not _load_lib('libtorchaudio'): raise ImportError('Failed to load libtorchaudio')"})


@pytest.mark.parametrize("package", ["audiocraft", "torchaudio"])
def test_what_cannot_be_replaced_is_named(fresh, package):
    code = "from audiocraft_ext.core.errors import run_cli\ndef main(): import audiocraft_ext.compat\nrun_cli(main)"
    words = fresh(code, FAKE | {f"{package}/__init__.py": None}, expect=2)
    assert words.startswith("error: ") and f"'{package}', which is not installed: pip install" in words
    assert words.count("\n") == 1


@pytest.mark.slow
def test_loading_workers_have_it_too(fresh):
    """audiocraft's own configs start workers from a fork server, which knows nothing of what this process imported."""
    fresh("import audiocraft_ext.compat, multiprocessing\n"
          "if 'forkserver' in multiprocessing.get_all_start_methods():\n"
          "    with multiprocessing.get_context('forkserver').Pool(1) as pool:\n"
          "        assert 'audiocraft_ext.compat' in pool.apply(eval, (\"list(__import__('sys').modules)\",))", FAKE)


@pytest.mark.slow
@pytest.mark.skipif(compat.status["xformers"] == "real", reason="audiocraft imports without help")
def test_after_a_failed_import_of_the_real_audiocraft(fresh):
    """As in a notebook: the first import fails, then compat is imported; everything that training needs is there."""
    fresh("try: import audiocraft\nexcept (ImportError, OSError): pass\nelse: raise AssertionError('it imports')\n"
          "import audiocraft_ext.compat\nimport audiocraft.models, audiocraft.solvers, audiocraft.environment\n"
          "import audiocraft.utils.export, audiocraft.data.audio_dataset, audiocraft.grids, audiocraft.metrics\n"
          "import importlib, audiocraft_ext.compat as c\nfirst = c.upstream_delete_param\n"
          "assert importlib.reload(c).upstream_delete_param is first, 'a reload must not wrap itself'", {})


def test_everything_that_training_imports():
    for name in ("solvers", "environment", "utils.export", "data.audio_dataset", "grids", "metrics", "optim", "losses"):
        importlib.import_module(f"audiocraft.{name}")


LATER = """
import audiocraft_ext.compat, sys
import audiocraft
assert not {"transformers", "librosa"} & sys.modules.keys(), "they take seconds"
assert not isinstance(3, audiocraft.T5EncoderModel) and "transformers" in sys.modules
assert audiocraft.filters.chroma(1) == 2 and audiocraft.T5EncoderModel.from_pretrained("x") == "x"
assert isinstance(audiocraft.T5EncoderModel(), sys.modules["transformers"].T5EncoderModel)
"""


def test_what_takes_long_and_is_not_used_is_imported_later(fresh):
    fresh(LATER, FAKE | {
        "audiocraft/__init__.py": "from transformers import T5EncoderModel\nfrom librosa import filters\n"
                                  + FAKE["audiocraft/__init__.py"],
        "transformers/__init__.py": "class T5EncoderModel:\n    from_pretrained = staticmethod(lambda name: name)",
        "librosa/__init__.py": "from . import filters", "librosa/filters.py": "chroma = lambda n: n + 1"})


def test_what_is_imported_already_is_used_and_what_is_absent_is_named_when_it_is_used(fresh):
    fresh("import transformers, audiocraft_ext.compat, audiocraft\n"
          "assert audiocraft.T5EncoderModel is transformers.T5EncoderModel\n"
          "try: audiocraft.filters.chroma\nexcept ModuleNotFoundError as error: assert error.name == 'librosa'\n"
          "else: raise AssertionError('it is not there')", FAKE | {
              "audiocraft/__init__.py": "from transformers import T5EncoderModel\nfrom librosa import filters\n"
                                        + FAKE["audiocraft/__init__.py"],
              "transformers/__init__.py": "class T5EncoderModel: pass", "librosa/__init__.py": None})


def test_metrics_of_audiocraft_come_when_they_are_used(fresh):
    fresh("import audiocraft_ext.compat, sys\n"
          "from audiocraft.solvers import builders\n"
          "assert not {'audiocraft.metrics', 'torchmetrics', 'scipy', 'matplotlib'} & sys.modules.keys()\n"
          "metric = builders.metrics.RelativeVolumeMel()\n"
          "import audiocraft.metrics\n"
          "assert type(metric) is audiocraft.metrics.RelativeVolumeMel and 'torchmetrics' in sys.modules", {})


# --- the parts that stand in ----------------------------------------------------------------------------------------

@needs["spacy"]
def test_the_tokenizer_that_needs_spacy_says_so():
    with pytest.raises(compat.MissingPackage, match="needs the package 'spacy', which is"):
        conditioners.WhiteSpaceTokenizer(10)
    assert importlib.util.find_spec("spacy") is None


@pytest.fixture
def backend():
    yield transformer.set_efficient_attention_backend
    transformer.set_efficient_attention_backend("torch")


def test_memory_efficient_attention_is_the_plain_one(backend):
    backend("torch")
    torch.manual_seed(0)
    fast = transformer.StreamingMultiheadAttention(16, 2, causal=True, memory_efficient=True)
    plain = transformer.StreamingMultiheadAttention(16, 2, causal=True, custom=True)
    plain.load_state_dict(fast.state_dict())
    x = torch.randn(2, 7, 16)
    torch.testing.assert_close(fast(x, x, x)[0], plain(x, x, x)[0], atol=1e-6, rtol=0)


@needs["xformers"]
def test_the_xformers_backend_says_what_it_needs(backend):
    backend("xformers")
    attention = transformer.StreamingMultiheadAttention(16, 2, causal=True, memory_efficient=True)
    x = torch.randn(1, 3, 16)
    with pytest.raises(compat.MissingPackage, match="'xformers'.*efficient_attention_backend=torch"):
        attention(x, x, x)


@pytest.mark.parametrize("encoding, bits, subtype", [("PCM_S", 16, "PCM_16"), ("PCM_S", 24, "PCM_24"),
                                                     ("PCM_F", 32, "FLOAT"), (None, None, "PCM_16")])
def test_load_and_save(tmp_path, encoding, bits, subtype):
    wav = torch.rand(2, 100) - 0.5
    compat._save(tmp_path / "a.wav", wav, 32_000, encoding=encoding, bits_per_sample=bits)
    assert soundfile.info(tmp_path / "a.wav").subtype == subtype
    back, rate = compat._load(tmp_path / "a.wav")
    assert rate == 32_000 and back.shape == wav.shape and (back - wav).abs().max() < 2**-15 * 1.01
    part, _ = compat._load(str(tmp_path / "a.wav"), frame_offset=10, num_frames=5, channels_first=False)
    assert torch.equal(part, back[:, 10:15].t())


def test_quick_filters_are_torchaudios(monkeypatch):
    """scipy's filter against torchaudio's own loop over the samples."""
    from torchaudio.functional import filtering

    torch.manual_seed(0)
    wav, a, b = torch.randn(2, 3, 300), torch.rand(3, 3), torch.rand(3, 3)
    a[:, 0] = 4.0  # stable
    name = "_lfilter_core_loop" if hasattr(filtering, "_lfilter_core_loop") else "_lfilter_core_cpu_loop"
    monkeypatch.setattr(filtering, name, filtering._lfilter_core_generic_loop)
    slow = filtering.lfilter(wav, a, b, clamp=False)
    compat._quick_filters()
    assert getattr(filtering, name) is not filtering._lfilter_core_generic_loop
    torch.testing.assert_close(filtering.lfilter(wav, a, b, clamp=False), slow, atol=1e-5, rtol=1e-5)
    short = wav[:1, :, :8].double().requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x: filtering.lfilter(x, a.double(), b.double(), clamp=False), short)


def test_loudness_is_quick():
    """16 s for this clip in torchaudio's own loop; audiocraft's solvers normalise loudness when they generate."""
    import time

    began = time.perf_counter()
    torchaudio.transforms.Loudness(32_000)(0.1 * torch.randn(1, 320_000))
    assert time.perf_counter() - began < 2


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mp3"])
def test_audio_is_written_without_ffmpeg(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(audiocraft_audio, "_piping_to_ffmpeg", compat._write)
    seconds = 120 if kind == "ogg" else 3  # in one piece, libsndfile 1.2.2 crashes on so long a vorbis file
    wav = 0.5 * torch.sin(torch.arange(seconds * 32_000) * torch.tensor([[0.1], [0.2]]))
    wav[0, 0] = 1.0  # the largest value
    path = audiocraft_audio.audio_write(tmp_path / "new" / "a", wav, 32_000, kind, strategy="clip",
                                        peak_clip_headroom_db=0, mp3_rate=128)
    assert path.name == f"a.{kind}"
    back, rate = soundfile.read(path, dtype="float32", always_2d=True)
    assert rate == 32_000 and back.shape[1] == 2
    if kind in ("wav", "flac"):  # to the nearest of the 16-bit values
        assert soundfile.info(path).subtype == "PCM_16"
        assert back.T.shape == wav.shape and abs(back.T - wav.numpy()).max() <= 1.01 * 2**-15
        assert abs(back.T - wav.numpy()).mean() < 0.3 * 2**-15
    else:
        assert abs(len(back) - wav.shape[1]) < 3000  # the encoder pads
        assert abs(back[32_000:64_000].std() - wav[:, 32_000:64_000].std().item()) < 0.02
    if kind == "mp3":
        assert abs(path.stat().st_size * 8 / 3 - 128_000) < 8000


def test_an_ogg_rate_needs_ffmpeg_and_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr(audiocraft_audio, "_piping_to_ffmpeg", compat._write)
    with pytest.raises(compat.MissingPackage, match="'ffmpeg'"):
        audiocraft_audio.audio_write(tmp_path / "a", torch.zeros(1, 100), 32_000, "ogg", ogg_rate=64)
    assert os.listdir(tmp_path) == []


# --- the loader -----------------------------------------------------------------------------------------------------

def test_delete_param():
    """Upstream's for what is there, nothing for what is null or absent."""
    assert loaders._delete_param is compat.delete_param
    config = OmegaConf.create({"conditioners": {"args": {"drop_desc_p": 1, "other": 2}}, "empty": None, "word": "x"})
    OmegaConf.set_struct(config, True)
    loaders._delete_param(config, "conditioners.args.drop_desc_p")
    assert config.conditioners == {"args": {"other": 2}} and OmegaConf.is_struct(config)
    before = OmegaConf.to_container(config)
    for name in ("empty.args.x", "empty.x", "word.x", "absent.x.y", "conditioners.args.absent", "conditioners.no.way"):
        loaders._delete_param(config, name)
    assert OmegaConf.to_container(config) == before


def lm_config():
    return OmegaConf.create({
        "device": "cpu", "dtype": "float32", "lm_model": "transformer_lm", "sample_rate": 16_000, "channels": 1,
        "dataset": {"segment_duration": 30}, "conditioners": None, "attribute_dropout": {"text": {}, "wav": {}},
        "fuser": {"sum": [], "prepend": [], "cross": [], "input_interpolate": []},
        "classifier_free_guidance": {"training_dropout": 0, "inference_coef": 1},
        "codebooks_pattern": {"modeling": "delay", "delay": {"delays": [0, 1], "flatten_first": 0, "empty_initial": 0}},
        "interleave_stereo_codebooks": {"use": False, "per_timestep": False}, "compression_model_n_q": None,
        "transformer_lm": {"dim": 16, "num_heads": 2, "num_layers": 2, "hidden_scale": 2, "n_q": 2, "card": 32,
                           "memory_efficient": True, "causal": True, "norm_first": True, "bias_proj": False,
                           "bias_ff": False, "bias_attn": False},
    })


def codec_config():
    return OmegaConf.create({
        "device": "cpu", "sample_rate": 16_000, "channels": 1, "compression_model": "encodec",
        "encodec": {"autoencoder": "seanet", "quantizer": "rvq", "sample_rate": "${sample_rate}",
                    "channels": "${channels}", "causal": False, "renormalize": False},
        "seanet": {"dimension": 8, "channels": "${channels}", "causal": "${encodec.causal}", "n_filters": 2,
                   "ratios": [8, 8, 5], "lstm": 1, "norm": "weight_norm", "decoder": {}, "encoder": {}},
        "rvq": {"n_q": 2, "bins": 32, "kmeans_init": False},
    })


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    """A folder as audiocraft's own export writes it from two training checkpoints: an unconditional LM and a codec."""
    folder = tmp_path_factory.mktemp("exported")
    torch.manual_seed(0)
    for name, config, build, write in (
            ("state_dict.bin", lm_config(), builders.get_lm_model, export.export_lm),
            ("compression_state_dict.bin", codec_config(), builders.get_compression_model, export.export_encodec)):
        state = {"best_state": {"model": build(config).state_dict()}, "fsdp_best_state": {}, "xp.cfg": config}
        torch.save(state, folder / "training.th")
        write(folder / "training.th", folder / name)  # reads an OmegaConf config under weights_only=True
    return folder


def test_an_unconditional_model_loads_and_generates(exported):
    """The loader bug, the import of xformers, and reading checkpoints, all in one: from PATH to a clip."""
    model = MusicGen.get_pretrained(str(exported), device="cpu")
    model.set_generation_params(duration=0.2, top_k=10)
    torch.manual_seed(0)
    wav, codes = model.generate_unconditional(2, return_tokens=True)
    assert wav.shape == (2, 1, 3200) and wav.isfinite().all()  # [B, C, N]
    assert codes.shape == (2, 2, 10) and codes.min() >= 0 and codes.max() < 32  # [B, K, T]
    assert checkpoint.config_of(checkpoint.load(exported / "state_dict.bin"))["conditioners"] is None


def test_upstream_alone_cannot_load_it(exported, monkeypatch):
    """The regression: audiocraft's own `_delete_param` looks for a key in None."""
    monkeypatch.setattr(loaders, "_delete_param", compat.upstream_delete_param)
    with pytest.raises(TypeError, match="NoneType"):
        MusicGen.get_pretrained(str(exported), device="cpu")
