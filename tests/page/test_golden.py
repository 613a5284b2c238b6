"""The page's sampler is the twin of the engine's: same seed, same codes. Python is held to the golden file, and so is
JavaScript where there is Node."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.page import golden

WEB = Path(golden.__file__).parents[2] / "audiocraft_ext" / "page" / "web"


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
