"""The page's sampler is the twin of the engine's: same seed, same codes. Python is held to the golden file, and so is
JavaScript where there is Node."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from audiocraft_ext.page import build
from tests.page import golden

WEB = build.WEB


@pytest.fixture(scope="module")
def file() -> dict:
    return json.loads(golden.PATH.read_text("utf-8"))


@pytest.fixture(scope="module")
def twin() -> dict:
    if not shutil.which("node"):
        pytest.skip("no node")
    made = subprocess.run(["node", str(Path(golden.__file__).with_suffix(".mjs")), str(WEB / "engine"),
                           str(golden.PATH)], capture_output=True, text=True, timeout=120)
    assert made.returncode == 0, made.stderr
    return json.loads(made.stdout)


def test_python_gives_the_golden_codes(file):
    assert json.loads(json.dumps(golden.everything())) == file


@pytest.mark.parametrize("name", [case["name"] for case in golden.cases()])
def test_javascript_gives_the_golden_codes(file, twin, name):
    assert twin["codes"][name] == next(case["codes"] for case in file["cases"] if case["name"] == name)


def test_javascript_draws_the_same_numbers(file, twin):
    assert twin["uniforms"] == [one["uniforms"] for one in file["uniforms"]]
    assert twin["draws"] == [one["draws"] for one in file["draws"]]


@pytest.mark.parametrize("size", (0, 1, 7, 8))
def test_javascript_unpacks_planes(size):
    if not shutil.which("node"):
        pytest.skip("no node")
    data = bytes(range(size))
    script = f"import({json.dumps((WEB / 'engine' / 'packing.js').as_uri())}).then(({{fromPlanes}}) => " \
             f"console.log(JSON.stringify([...fromPlanes(Uint8Array.from({list(build.in_planes(data))}))])))"
    made = subprocess.run(["node", "-e", script], capture_output=True, text=True, timeout=60, check=True)
    assert bytes(json.loads(made.stdout)) == data
