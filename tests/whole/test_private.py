"""Programs write nothing outside of what they were asked for, but for the caches in README, and look up no name."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import audiocraft_ext
from tests.helpers.programs import ROOT

pytestmark = pytest.mark.early
# What README lists: our cache of hashes, matplotlib's of the fonts (and its two folders).
KNOWN = re.compile(r"\.cache(/micro-musicgen(/sha256(/\w+\.json)?)?|/matplotlib(/fontlist-v[\w.-]+\.json)?)?"
                   r"|\.config(/matplotlib)?")
OUTSIDE = re.compile(r"connect\(.*AF_INET|sendto\(.*AF_INET")
NAMES = {"HOME": "home", "TMPDIR": "tmp", "MICRO_OUTPUTS": "out", "MICRO_STORES": "out"}
FOREIGN = ("MICRO_CACHE", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR", "HF_HUB_OFFLINE", *audiocraft_ext.SILENT)


def left_by(folder: Path, *words: object) -> set[str]:
    """What ``python *words`` leaves under a fresh HOME and a fresh folder for temporary files; it may write to
    ``folder/out``."""
    environ = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    short = Path(tempfile.mkdtemp(dir="/tmp"))  # sockets lie there, whose paths have less than 108 bytes
    for name, part in NAMES.items():
        place = short if part == "tmp" else folder / part
        place.mkdir(exist_ok=True)
        environ[name] = str(place)
    trace = [shutil.which("strace"), "-f", "-e", "trace=connect,sendto", "-o", folder / "trace"]
    command = [*(trace if trace[0] else ()), sys.executable, *words]
    done = subprocess.run(list(map(str, command)), cwd=ROOT, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    if trace[0]:
        assert not OUTSIDE.findall((folder / "trace").read_text(errors="replace"))
    for path in short.glob("torchinductor_*"):  # torch's, as soon as it could compile; in README
        path.rmdir()  # empty, or an error
    assert not list(short.iterdir())
    short.rmdir()
    return {str(path.relative_to(folder / "home")) for path in (folder / "home").rglob("*")}


COMMANDS = {
    "a clip": ["infer.py", "-d", 1, "-o", "OUT"],
    "a picture": ["infer.py", "-d", 1, "-n", 2, "--sheet", "-o", "OUT"],
    "a beat": ["infer.py", "drums", "--wav", "-o", "OUT"],
    "a look at a folder": ["-m", "data_prep.audio", ROOT / "data_prep/breaks/bsd2", "OUT/store", "--dry-run"],
    "drums prepared": ["-m", "data_prep.midi", ROOT / "tests/data/groove", "OUT/store"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_leaves_nothing_else(tmp_path, name):
    left = left_by(tmp_path, *(str(word).replace("OUT", str(tmp_path / "out")) for word in COMMANDS[name]))
    assert not {path for path in left if not KNOWN.fullmatch(path)}
    assert list((tmp_path / "out").iterdir())


@pytest.mark.processes
def test_training_and_export_leave_nothing_else(tmp_path):
    breaks, out = tmp_path / "breaks", tmp_path / "out"
    breaks.mkdir()
    for path in sorted((ROOT / "data_prep/breaks/cc0").glob("*.flac"))[:4]:
        shutil.copy(path, breaks)
    left = left_by(tmp_path, "-m", "data_prep.audio", breaks, out / "store", "--codec", "debug")
    left |= left_by(tmp_path, "-m", "dora", "-P", "audiocraft_ext", "run", "solver=musicgen/debug",
                    f"datasource.store={out}/store", "logging.log_tensorboard=true")
    [run] = (out / "xps").iterdir()
    assert list(run.rglob("events.out.tfevents.*"))
    for bundle, checkpoint in (("bundle", run), ("again", run)):
        left |= left_by(tmp_path, "-m", "audiocraft_ext.export", checkpoint, out / bundle)
    left |= left_by(tmp_path, "-m", "audiocraft_ext.soup", out / "bundle", out / "again", out / "soup")
    assert (out / "soup" / "model.json").is_file()
    assert not {path for path in left if not KNOWN.fullmatch(path)}


DEMOS = {"drums": (ROOT / "tests/data/groove", 12), "notes": (ROOT / "data_prep/songs/freedoom", 6),
         "songs": (ROOT / "data_prep/songs/freedoom", 6)}


@pytest.mark.processes
@pytest.mark.parametrize("kind", DEMOS)
def test_a_demo_leaves_nothing_else(tmp_path, kind):
    source, files = DEMOS[kind]
    (tmp_path / "midi").mkdir()
    for path in sorted(source.glob("*.mid"))[:files]:
        shutil.copy(path, tmp_path / "midi")
    left = left_by(tmp_path, "-m", f"audiocraft_ext.{kind}.demo", "--midi", tmp_path / "midi", "--name", "own", "--out",
                   tmp_path / "out" / "own", "-n", 2, "optim.epochs=1", "optim.updates_per_epoch=2")
    assert list((tmp_path / "out" / "own").glob("*.mid"))
    assert not {path for path in left if not KNOWN.fullmatch(path)}


@pytest.mark.processes
def test_a_grid_on_this_machine_leaves_nothing_else(tmp_path):
    left = left_by(tmp_path, "-m", "audiocraft_ext.sweep.cli", "grid", "debug", "0", "--local")
    assert len(list((tmp_path / "out").glob("xps/*/checkpoint.th"))) == 1
    assert not {path for path in left if not KNOWN.fullmatch(path)}


def test_whoever_imports_onnxruntime_has_imported_us_before():
    """At the top of the file, or because it lies in a package of ours that does."""
    tops = ("audiocraft_ext", "data_prep", "benchmarks", "tests")
    for path in [ROOT / "infer.py", *(path for top in tops for path in (ROOT / top).rglob("*.py"))]:
        text = path.read_text("utf-8")
        if "onnxruntime" not in text:
            continue
        imports = [node for node in ast.walk(ast.parse(text)) if isinstance(node, (ast.Import, ast.ImportFrom))]
        named = {name for node in imports for name in
                 ([node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names])}
        if any(name.split(".")[0] == "onnxruntime" for name in named):
            assert (path.relative_to(ROOT).parts[0] in ("audiocraft_ext", "data_prep")
                    or any(name.startswith("audiocraft_ext") for name in named)), path


@pytest.mark.parametrize("module", ["audiocraft_ext", "data_prep"])
def test_a_package_of_ours_switches_telemetry_off(module):
    environ = {name: value for name, value in os.environ.items() if name not in audiocraft_ext.SILENT}
    code = f"import {module}, os, sys; print(os.environ['ORT_DISABLE_TELEMETRY'], 'onnxruntime' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environ, capture_output=True, text=True)
    assert done.stdout.split() == ["1", "False"]
    own = environ | {"ORT_DISABLE_TELEMETRY": "0"}  # somebody's own choice stays
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=own, capture_output=True, text=True)
    assert done.stdout.split() == ["0", "False"]
