"""The ``dora`` command: ours, Dora's in all else."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from dora import grid as dora_grid

from audiocraft_ext.runs import version
from audiocraft_ext.sweep import cli, hooks, shepherd
from audiocraft_ext.sweep.options import OPTIONS, Options
from audiocraft_ext.train import main
from tests.helpers.stores import make_store
from tests.sweep.test_local import argvs, go, outputs  # noqa: F401  a fixture


@pytest.fixture(autouse=True)
def options(monkeypatch):
    """As they were, afterwards."""
    for key, value in vars(Options()).items():
        monkeypatch.setattr(OPTIONS, key, value)


def dora(*argv: str, monkeypatch, capsys) -> tuple[int, str]:
    """The command in this process: exit code and what it said."""
    monkeypatch.setattr(sys, "argv", ["dora", *argv])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return end.value.code, capsys.readouterr().err


def test_the_installed_command_is_ours_in_any_folder(tmp_path):
    """dora-search brings a script of the same name; pip must write ours after it."""
    script = Path(sys.executable).with_name("dora")
    if not script.exists():
        pytest.skip("not installed with its commands")
    ours = [entry for entry in entry_points(group="console_scripts") if entry.name == "dora"]
    assert "audiocraft_ext.sweep.cli:main" in {entry.value for entry in ours}
    assert "audiocraft_ext.sweep.cli" in script.read_text()
    done = subprocess.run([script, "grid", "nope", "--local"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("error: no grid nope; there are: data, debug, ")
    assert done.stderr.count("\n") == 1 and not list(tmp_path.iterdir())


@pytest.mark.parametrize("argv, words", [
    (["grid", "debug", "--slots", "0"], "error: argument --slots: expected 1 to 256, got '0'"),
    (["grid", "debug", "--slots", "two"], "error: argument --slots: expected 1 to 256, got 'two'"),
    (["grid", "debug", "--retries", "-1"], "error: argument --retries: expected"),
    (["grid", "debug", "--retries", "1.5"], "error: argument --retries: expected 0 to 100, got '1.5'"),
    (["grid", "debug", "--what"], "error: unrecognized arguments: --what"),
    (["grid"], "error: name a grid; there are: data, debug, "),
])
def test_a_wrong_option_is_one_line(argv, words, monkeypatch, capsys):
    status, said = dora(*argv, monkeypatch=monkeypatch, capsys=capsys)
    assert status == 2 and said.splitlines()[-1].startswith(words)


def test_the_options_reach_the_parts(monkeypatch, capsys, tmp_path):
    seen = []
    monkeypatch.setattr(dora_grid, "grid_action", lambda args, main: seen.append((args, main)))
    status, _ = dora("grid", "debug", "lr", "--local", "--slots", "3", "--retries", "0", "--html", "a.html", "--sort",
                     "lr", "-i", "1", monkeypatch=monkeypatch, capsys=capsys)
    args, used = seen[0]
    assert status == 0 and used is main and args.patterns == ["lr"] and args.interval == 1.0
    assert vars(OPTIONS) == {"grid": "debug", "local": True, "slots": 3, "retries": 0, "html": Path("a.html"),
                             "sort": "lr", "look": False}


@pytest.fixture
def page(tmp_path, outputs, monkeypatch) -> Path:  # noqa: F811
    """One's own grid ``mine``, of two runs that nobody ever starts."""
    package = tmp_path / "own_grids"
    package.mkdir()
    (package / "__init__.py").write_text("")
    store = make_store(tmp_path / "store", {"a": 400}, {"v": 120}).path
    (package / "mine.py").write_text("from dora import Explorer\n\n\n@Explorer\ndef explorer(launcher):\n"
                                     f"    for argv in {argvs(store)!r}:\n        launcher.bind(argv)()\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(main.dora, "grid_package", "own_grids")
    monkeypatch.setattr("audiocraft_ext.sweep.queue.Queue._start_keeper", lambda self: None)
    yield package / "mine.py"
    for name in [name for name in sys.modules if name.startswith("own_grids")]:
        del sys.modules[name]


@pytest.mark.parametrize("argv, words", [
    (["--sort", "nosuch"], "--sort nosuch: no such column; there are #, lr, state"),
    (["--trim", "99"], "--trim 99: no such run; there are 2, the first is 0"),
    (["99"], "no such run; the grid has 2, the first is 0"),
    (["--html", "own_grids/mine.py/page.html"], "own_grids/mine.py/page.html cannot be written: "),
    (["--html", "own_grids"], "own_grids is a folder; "),
    (["--log", "99"], "--log 99: no such run; there are 2"),
    (["-f", "2"], "--folder 2: no such run; there are 2"),
    (["--log", "0"], "--log 0: run "),
    (["--tail", "1"], "--tail 1: run "),
    (["--clear"], "--clear deletes runs and asks before it does; use it in a terminal"),
])
def test_what_is_wrong_is_refused_before_anything_is_queued(argv, words, page, outputs, monkeypatch, capsys):  # noqa: F811
    monkeypatch.setattr("builtins.input", lambda text: (_ for _ in ()).throw(EOFError))
    status, said = dora("grid", "mine", "--local", "--no_monitoring", *argv, monkeypatch=monkeypatch, capsys=capsys)
    assert status == 2 and said.splitlines()[-1].startswith(f"error: {words}")
    assert not list(outputs.glob("local/*")) and not list(outputs.glob("xps/*"))


def test_a_setting_out_of_its_range_is_one_line_with_its_run(page, outputs, monkeypatch, capsys):  # noqa: F811
    page.write_text(page.read_text().replace("launcher.bind(argv)()", "launcher.bind(argv)({'optim.ema.decay': 2})"))
    status, said = dora("grid", "mine", "--local", "--no_monitoring", monkeypatch=monkeypatch, capsys=capsys)
    last = said.splitlines()[-1]
    assert status == 2 and re.match(r"error: the run \w{8} \(.*optim.ema.decay=2\): optim.ema.decay: expected ", last)
    assert not list(outputs.glob("local/*")) and not list(outputs.glob("xps/*"))


def test_a_look_at_a_log_starts_nothing(page, outputs, monkeypatch, capsys):  # noqa: F811
    """Also of a run that was interrupted, which would go on otherwise. Words after options are patterns."""
    argv = ["grid", "mine", "--local", "--no_monitoring", "lr=0.002"]
    dora(*argv, monkeypatch=monkeypatch, capsys=capsys)
    [run] = outputs.glob("xps/*")
    note = json.loads((run / "local.json").read_text())
    (run / "local.json").write_text(json.dumps(note | {"state": "RUNNING", "job_id": "7"}))
    (run / "submitit" / "7_0_log.out").write_text("what it said")
    queue = (outputs / "local" / "mine" / "queue.json").read_text()
    monkeypatch.setattr(sys, "argv", ["dora", *argv, "--log", "0"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 0 and "what it said" in capsys.readouterr().out
    assert (outputs / "local" / "mine" / "queue.json").read_text() == queue


@pytest.mark.parametrize("text, line, words", [
    ("import os\nexplorer = (\n", 2, "SyntaxError: '(' was never closed"),
    ("explorer = nothing\n", 1, "NameError: name 'nothing' is not defined"),
    ("import nosuch\n", 1, "ModuleNotFoundError: No module named 'nosuch'"),
    ("from dora import Explorer\n@Explorer\ndef explorer(launcher):\n    launcher.bnd('a=1')\n", 4, "AttributeError: "),
    ("explore = 1\n", None, "expected a function `explorer` with @Explorer above it"),
])
def test_a_mistake_in_a_grid_is_one_line_with_its_place(text, line, words, page, monkeypatch, capsys):
    page.write_text(text)
    status, said = dora("grid", "mine", "--local", monkeypatch=monkeypatch, capsys=capsys)
    assert status == 2 and said.splitlines()[-1].startswith(f"error: {page}:{line or ''}{': ' if line else ' '}{words}")


def test_all_of_doras_commands_take_part():
    hooks.install()
    for name in hooks.PLACES:
        assert sys.modules[f"dora.{name}"].Shepherd is shepherd.Shepherd
    assert dora_grid.Herd is shepherd.Herd


def test_where_there_is_no_srun_it_is_this_machine(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert shepherd.is_local()
    (tmp_path / "srun").touch(mode=0o755)
    assert not shepherd.is_local()
    OPTIONS.local = True
    assert shepherd.is_local()


@pytest.mark.parametrize("git_save", [False, True])
def test_a_dirty_checkout_warns_and_keeps_the_difference(git_save, tmp_path, outputs, monkeypatch, capsys):  # noqa: F811
    """Never a failure, also where Dora wants a clean one."""
    store = make_store(tmp_path / "store", {"a": 400}, {"v": 120}).path
    dirty = version.Version("c" * 40, {"audiocraft_ext/model/lm.py": "1"}, ["audiocraft_ext/model/lm.py"], True,
                         "-a\n+b\n")
    monkeypatch.setattr(version, "version", lambda: dirty)
    monkeypatch.setattr(main.dora, "git_save", git_save)
    monkeypatch.setattr("audiocraft_ext.sweep.queue.Queue._start_keeper", lambda self: None)
    go(store, monitor=False)
    said = capsys.readouterr().err
    assert said.count("the code is not committed (cccccccccc and 1 changed file)") == 1
    assert ("git_save needs a clean checkout" in said) == git_save
    for argv in argvs(store):
        folder = outputs / "xps" / main.get_xp(argv).sig
        assert (folder / "code.diff").read_text() == "-a\n+b\n"
        assert json.loads((folder / "code.json").read_text())[0]["changed"] == ["audiocraft_ext/model/lm.py"]
    run = json.loads((outputs / "local" / "two" / "queue.json").read_text())["runs"]
    assert {one["cwd"] for one in run.values()} == {os.getcwd()}

    later = version.Version("d" * 40, {"audiocraft_ext/model/lm.py": "2"})
    monkeypatch.setattr(version, "version", lambda: later)
    go(store, monitor=False)
    assert "began with cccccccccc and 1 changed file, goes on with dddddddddd; " \
           "different: audiocraft_ext/model/lm.py" in capsys.readouterr().err
