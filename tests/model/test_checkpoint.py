"""Checkpoints: what goes in comes out, foreign objects are refused, a failed save changes nothing."""

from __future__ import annotations

import collections
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.model import checkpoint
from tests.helpers.programs import fork


class Foreign:
    """A class that no checkpoint should hold."""


class Runs:
    """Unpickled by pickle itself, this creates the file `marker`."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def a_config():
    config = OmegaConf.create({"dim": 64, "lr": 1e-4, "half": "${dim}", "delays": [0, 1, "${dim}"], "none": None,
                               "lm": {"n_q": 4, "of": "${..dim}"}, "copy": "${lm}", "todo": "???", 5: "key",
                               "dir": "/x/${oc.env:HOME}", "lost": "${nowhere.at.all}"})
    OmegaConf.set_struct(config, True)
    return config


PLAIN = {"dim": 64, "lr": 1e-4, "half": 64, "delays": [0, 1, 64], "none": None, "lm": {"n_q": 4, "of": 64},
         "copy": {"n_q": 4, "of": 64}, "todo": "???", 5: "key", "dir": "/x/${oc.env:HOME}", "lost": "${nowhere.at.all}"}


def a_state() -> dict:
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(3))])
    return {"model": collections.OrderedDict(weight=torch.arange(6.).view(2, 3)), "optimizer": optimizer.state_dict(),
            "xp.cfg": a_config(), "xp.sig": "ab12", "history": [{"train": {"ce": 1.5}}], "rng": torch.get_rng_state()}


def test_a_state_comes_back(tmp_path):
    path = tmp_path / "new" / "checkpoint.th"
    state = a_state()
    checkpoint.save(state, path)
    back = checkpoint.load(path)
    assert set(back) == set(state)
    assert torch.equal(back["model"]["weight"], state["model"]["weight"])
    assert torch.equal(back["rng"], state["rng"])
    assert back["xp.cfg"] == state["xp.cfg"] and OmegaConf.is_struct(back["xp.cfg"])
    assert back["history"] == state["history"]
    assert os.listdir(path.parent) == ["checkpoint.th"], "nothing is left beside it"


def test_torch_alone_would_refuse_the_config(tmp_path):
    """The allow-list is needed; and it holds beyond our own reading, for audiocraft calls torch.load itself."""
    checkpoint.save(a_state(), tmp_path / "c.th")
    checkpoint.load(tmp_path / "c.th")
    assert torch.load(tmp_path / "c.th")["xp.cfg"] == a_config()
    code = "import sys, torch\ntorch.load(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "c.th")], capture_output=True, text=True)
    assert done.returncode == 1 and "omegaconf" in done.stderr and "UnpicklingError" in done.stderr


@pytest.mark.parametrize("legacy", [False, True])
def test_a_foreign_class_is_refused_by_name(tmp_path, legacy):
    path = tmp_path / "bad.th"
    torch.save({"model": {}, "extra": Foreign()}, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(UserError, match=r"bad\.th: refused.*\bForeign\b.*run code") as caught:
        checkpoint.load(path)
    assert "\n" not in str(caught.value)


def test_code_in_a_checkpoint_does_not_run(tmp_path):
    marker = tmp_path / "ran"
    for name, write in {"zip.th": lambda path, state: torch.save(state, path),
                        "pickle.th": lambda path, state: path.write_bytes(pickle.dumps(state))}.items():
        write(tmp_path / name, {"model": Runs(marker)})
        with pytest.raises(UserError, match=name):
            checkpoint.load(tmp_path / name)
        assert not marker.exists()
    with pytest.raises(UserError, match="mkdir"):
        checkpoint.load(tmp_path / "zip.th")


def test_an_environment_variable_does_not_switch_the_safety_off(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    torch.save({"extra": Foreign()}, tmp_path / "bad.th")
    with pytest.raises(UserError, match="refused"):
        checkpoint.load(tmp_path / "bad.th")


@pytest.mark.parametrize("kept", [0, 1, 100, 5000, -1])
def test_a_truncated_file_is_one_line(tmp_path, kept):
    checkpoint.save(a_state() | {"big": torch.ones(4000)}, tmp_path / "whole.th")
    (tmp_path / "cut.th").write_bytes((tmp_path / "whole.th").read_bytes()[:kept])
    with pytest.raises(UserError, match=r"cut\.th: not a readable checkpoint") as caught:
        checkpoint.load(tmp_path / "cut.th")
    assert "\n" not in str(caught.value) and "weights_only" not in str(caught.value)


@pytest.mark.parametrize("content", [b"just some text\n", b"\x80\x04", os.urandom(3000), b"PK\x03\x04" + bytes(100)])
def test_something_else_is_one_line(tmp_path, content):
    (tmp_path / "other.th").write_bytes(content)
    with pytest.raises(UserError, match=r"other\.th") as caught:
        checkpoint.load(tmp_path / "other.th")
    assert "\n" not in str(caught.value)


def test_missing_folder_and_wrong_content(tmp_path):
    with pytest.raises(UserError, match=r"none\.th: no such checkpoint"):
        checkpoint.load(tmp_path / "none.th")
    with pytest.raises(UserError, match="found a folder"):
        checkpoint.load(tmp_path)
    torch.save([1, 2], tmp_path / "list.th")
    with pytest.raises(UserError, match=r"list\.th: expected.*dict.*found a list"):
        checkpoint.load(tmp_path / "list.th")


@pytest.mark.parametrize("extra, name", [(Foreign(), "Foreign"), (collections.defaultdict(list, a=[1]), "defaultdict")])
def test_a_state_that_could_not_be_loaded_is_not_saved(tmp_path, extra, name):
    path = tmp_path / "c.th"
    checkpoint.save({"epoch": 1}, path)
    with pytest.raises(ValueError, match=name) as caught:
        checkpoint.save({"epoch": 2, "extra": extra}, path)
    assert not isinstance(caught.value, UserError), "a bug of ours, not the user's doing"
    assert checkpoint.load(path) == {"epoch": 1} and os.listdir(tmp_path) == ["c.th"]


def test_stopped_while_writing(tmp_path, monkeypatch):
    """Ctrl-C within the write: the old file stays, and the interrupt is passed on."""
    path = tmp_path / "c.th"
    checkpoint.save({"epoch": 1}, path)

    def interrupted(state, file):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save({"epoch": 2}, path)
    assert checkpoint.load(path) == {"epoch": 1} and os.listdir(tmp_path) == ["c.th"]


@pytest.mark.skipif(sys.platform == "win32", reason="no file size limit to stand in for a full disk")
@pytest.mark.parametrize("numbers", [100_000, 300_000])
def test_a_full_disk_names_the_path_and_keeps_the_old_file(tmp_path, tmp_path_factory, numbers):
    """A limit on the file size makes the write fail as a full disk does: an OSError under torch's zip writer."""
    path = tmp_path / "c.th"
    checkpoint.save({"epoch": 1}, path)

    def save():
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        checkpoint.save({"epoch": 2, "w": torch.ones(numbers)}, path)

    program = fork(tmp_path_factory.mktemp("said"), save)
    code, said = program.end(), program.err.read_text()
    assert code == 2, said
    assert said.startswith(f"error: {path}: the checkpoint could not be written (File too large)")
    assert said.count("\n") == 1
    assert checkpoint.load(path) == {"epoch": 1} and os.listdir(tmp_path) == ["c.th"]


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "f").write_text("")
    with pytest.raises(UserError, match=r"f/c\.th.*could not be written"):
        checkpoint.save({}, tmp_path / "f" / "c.th")


def test_a_failure_of_our_own_is_not_blamed_on_the_disk(tmp_path):
    """Saving while an OSError is being dealt with must not mistake that one for the reason."""
    try:
        raise OSError(28, "No space left on device")
    except OSError:
        with pytest.raises(Exception) as caught:
            checkpoint.save({"f": lambda: 0}, tmp_path / "c.th")
    assert not isinstance(caught.value, UserError) and os.listdir(tmp_path) == []


def test_only_the_new_file_is_ever_seen(tmp_path, monkeypatch):
    """The file is complete, and on the disk, before it gets its name."""
    order = []
    real_sync, real_replace = os.fsync, os.replace

    def replace(source, target):
        order.append("rename")
        assert checkpoint.load(source) == {"epoch": 2} and Path(source).parent == Path(target).parent
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", lambda handle: (order.append("sync"), real_sync(handle)))
    monkeypatch.setattr(os, "replace", replace)
    checkpoint.save({"epoch": 2}, tmp_path / "c.th")
    assert order[:2] == ["sync", "rename"] and order.count("rename") == 1


@pytest.mark.parametrize("form", ["config", "dict", "yaml"])
def test_config_of_gives_plain_values(form):
    config = a_config()
    stored = {"config": config, "dict": OmegaConf.to_container(config), "yaml": OmegaConf.to_yaml(config)}[form]
    plain = checkpoint.config_of({"xp.cfg": stored})
    assert plain == PLAIN
    assert type(plain) is dict and type(plain["lm"]) is dict and type(plain["delays"]) is list


def test_config_of_reads_yaml_numbers_as_omegaconf_does():
    assert checkpoint.config_of({"xp.cfg": "optim:\n  lr: 1e-4\n"}) == {"optim": {"lr": 1e-4}}


@pytest.mark.parametrize("pkg, match", [({"model": {}}, "expected.*'xp.cfg'.*has model"),
                                        ({"xp.cfg": "- 1\n- 2\n"}, "mapping"), ({"xp.cfg": "a: [1"}, "cannot be read"),
                                        ({"xp.cfg": 5}, "found a int")])
def test_config_of_refuses(pkg, match):
    with pytest.raises(UserError, match=match):
        checkpoint.config_of(pkg)


def test_one_bit_of_a_weight_is_another_model(tmp_path):
    """torch reads it without a word."""
    weights = torch.arange(4096.0)
    checkpoint.save({"model": {"w": weights}}, tmp_path / "good.th")
    data = bytearray((tmp_path / "good.th").read_bytes())
    at = data.index(weights.numpy().tobytes()) + 5000
    data[at] ^= 1
    (tmp_path / "bad.th").write_bytes(data)
    assert not torch.load(tmp_path / "bad.th", weights_only=True)["model"]["w"].equal(weights)
    with pytest.raises(UserError, match=r"is damaged, .*data/0 in it is not what was written"):
        checkpoint.load(tmp_path / "bad.th")
    assert checkpoint.load(tmp_path / "good.th")["model"]["w"].equal(weights)
