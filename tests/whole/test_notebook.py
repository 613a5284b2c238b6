"""docs/colab.ipynb runs from its first cell to its last, here with tiny settings and a folder in place of an upload."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from audiocraft_ext.engine.bundle import Bundle
from tests.helpers.programs import ROOT, run_here

NOTEBOOK = ROOT / "docs" / "colab.ipynb"
TINY = {
    "NAME": "tiny one",
    "PREPARE": "--cut bars:1 --tempo off --valid-share 0.5 --workers 0",
    "TRAIN": "solver=musicgen/debug generate.every=1 device=cpu",
    "PLAY": "-n 2 -d 1 --seed 1",
}


def parameters(notebook) -> int:
    """The index of the cell that says what there is to change."""
    return next(i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", ()))


def sounds(cell) -> int:
    """How many there are to listen to below it."""
    return sum("<audio" in output.get("data", {}).get("text/html", "") for output in cell.outputs)


def test_it_is_written_to_be_read():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert len(cell.source.splitlines()) <= 40 and max(map(len, cell.source.splitlines())) <= 120
        assert cell.cell_type == "markdown" or (cell.outputs, cell.execution_count) == ([], None)
    said = "".join(cell.source for cell in notebook.cells)
    assert said.count("github.com") == 1  # the repository is named in one place


def test_its_options_are_known():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    given: dict[str, str] = {}
    exec(notebook.cells[parameters(notebook)].source, given)
    for program, options in ((("-m", "data_prep.audio"), given["PREPARE"]), (("infer.py",), given["PLAY"])):
        known = run_here(*program, "--help")[1]
        assert [word for word in shlex.split(options) if re.match("--?[a-z]", word) and word not in known] == []
    solver, = re.findall("solver=(\\S+)", given["TRAIN"])
    assert (ROOT / "configs" / "solver" / f"{solver}.yaml").is_file()


TRAINING = """#!{python}
import json, os, signal, sys, time
from pathlib import Path
run = Path("outputs/xps/a")
(run / "samples/epoch_1").mkdir(parents=True)
def tell(**more):
    about = dict(pid=os.getpid(), state="training", samples="samples/epoch_1", epoch=1, epochs=9, valid=2.0)
    (run / "part").write_text(json.dumps(about | more))
    os.replace(run / "part", run / "status.json")
def stop(*_):
    tell(state="stopped")
    sys.exit(130)
signal.signal(signal.SIGINT, stop)
tell()
time.sleep(60)
"""


def test_its_stop_button_stops_the_training(tmp_path, monkeypatch, capsys):
    """The cell that trains, with a program that only says that it trains."""
    def stopped(sound):
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("IPython.display.display", stopped)
    monkeypatch.setattr("IPython.display.Audio", str)
    program = tmp_path / "python"
    program.write_text(TRAINING.format(python=sys.executable))
    program.chmod(0o755)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    cell = next(cell.source for cell in notebook.cells if "training.poll()" in cell.source)
    here = {"python": str(program), "Path": Path, "TRAIN": "", "store": "s", "dtype": "bfloat16"}
    exec(cell, here)
    assert here["training"].returncode == 130 and here["run"] == Path("outputs/xps/a")
    said = capsys.readouterr().out.splitlines()
    assert said == ["epoch 1 of 9, loss 2.000 on sound that it never heard", "stopped "]


@pytest.mark.early
@pytest.mark.processes
def test_it_runs(tmp_path, monkeypatch):
    """In a checkout that is set up: cloning and installing have nothing to do."""
    monkeypatch.setenv("HOME", str(tmp_path))  # where Jupyter keeps what it knows of kernels that run
    monkeypatch.delenv("MICRO_OUTPUTS", raising=False)
    folder, checkout = tmp_path / "my breaks", tmp_path / "checkout"
    folder.mkdir()
    for name in ("arovane_beat_a", "loop_breakbeat", "loop_compus"):
        shutil.copy(ROOT / f"data_prep/breaks/cc0/{name}.flac", folder)
    for name in ("audiocraft_ext", "configs", "data_prep", "infer.py"):
        (checkout / "docs").mkdir(parents=True, exist_ok=True)
        (checkout / name).symlink_to(ROOT / name)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    changed = "\n".join(f"{name} = {value!r}" for name, value in {"FOLDER": str(folder), **TINY}.items())
    notebook.cells.insert(parameters(notebook) + 1, nbformat.v4.new_code_cell(changed))
    NotebookClient(notebook, timeout=1800, resources={"metadata": {"path": str(checkout / "docs")}}).execute()

    said = "".join(str(output.get("text", "")) for cell in notebook.cells for output in cell.get("outputs", ()))
    assert "Cloning" not in said and "setup:" not in said
    cells = {key: next(cell for cell in notebook.cells if word in cell.source)
             for key, word in (("train", "training.poll()"), ("play", "infer.py \"{bundle}\""))}
    assert sounds(cells["train"]) >= 1 and "loss" in said and "finished" in said
    assert sounds(cells["play"]) == 2 == len(list((checkout / "out/tiny one").glob("*.wav")))
    Bundle(checkout / "out/tiny one/tiny one").verify()
    with zipfile.ZipFile(checkout / "out/tiny one/tiny one.zip") as archive:
        assert "tiny one/model.json" in archive.namelist()
    assert Path(checkout / "stores/tiny one/report.html").is_file()
