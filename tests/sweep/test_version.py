"""Which code a run is made with, and what is said when it is another later."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from audiocraft_ext.runs import version


def git(root: Path, *args: str) -> None:
    subprocess.run(["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@b", *args], check=True,
                   capture_output=True)


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A small one, below the top of its repository, with a commit."""
    root = tmp_path / "work (2)" / "here"
    for name, text in {"audiocraft_ext/__init__.py": "", "audiocraft_ext/model/lm.py": "a = 1\n",
                       "configs/c.yaml": "b: 1\n", "audiocraft_ext/grids/lr.py": "", "README.md": "hello\n"}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    git(root.parent, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "all")
    return root


def test_a_clean_checkout_is_its_commit(checkout):
    now = version.version(checkout)
    assert len(now.commit) == 40 and not now.changed and not now.dirty and not now.diff
    assert set(now.files) == {"audiocraft_ext/__init__.py", "audiocraft_ext/model/lm.py", "configs/c.yaml"}
    assert str(now) == now.commit[:10]


def test_what_is_not_committed_is_kept_with_the_run(checkout, tmp_path):
    (checkout / "audiocraft_ext/model/lm.py").write_text("a = 2\n")
    (checkout / "configs/neu é.yaml").write_text("c: 3\n")
    now = version.version(checkout)
    assert now.changed == ["audiocraft_ext/model/lm.py", "configs/neu é.yaml"] and now.dirty
    version.record(tmp_path, now)
    diff = (tmp_path / "code.diff").read_text()
    assert "-a = 1\n+a = 2\n" in diff and "+++ b/configs/neu é.yaml" in diff and "+c: 3" in diff
    kept = json.loads((tmp_path / "code.json").read_text())
    assert kept[0]["commit"] == now.commit and kept[0]["diff"] == "code.diff" and len(kept) == 1
    version.record(tmp_path, version.version(checkout))
    assert json.loads((tmp_path / "code.json").read_text()) == kept


@pytest.mark.parametrize("name, dirty", [("audiocraft_ext/grids/lr.py", False), ("README.md", True)])
def test_what_changes_no_run_is_no_other_version(checkout, tmp_path, name, dirty):
    """git_save has Dora's own idea of a clean checkout: grids aside."""
    version.record(tmp_path, version.version(checkout))
    (checkout / name).write_text("new\n")
    now = version.version(checkout)
    assert not now.changed and now.dirty == dirty and version.differences(tmp_path, now) is None


def test_another_version_says_what_is_different(checkout, tmp_path):
    assert version.differences(tmp_path, version.version(checkout)) is None  # nothing is known
    version.record(tmp_path, old := version.version(checkout))
    (checkout / "configs/c.yaml").write_text("b: 2\n")
    git(checkout, "commit", "-qam", "c")
    (checkout / "audiocraft_ext/model/lm.py").write_text("a = 3\n")
    now = version.version(checkout)
    assert version.differences(tmp_path, now) == (
        f"began with {old.commit[:10]}, goes on with {now.commit[:10]} and 1 changed file; "
        "different: audiocraft_ext/model/lm.py, configs/c.yaml")
    assert "audiocraft_ext/model/lm.py" in version.note(tmp_path, now) and version.note(tmp_path, now) is None
    assert "a = 3" in (tmp_path / "code-2.diff").read_text() and not (tmp_path / "code.diff").exists()


def test_without_git_files_tell(checkout, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    now = version.version(checkout)
    assert now.commit is None and not now.dirty and len(now.files) == 3
    assert str(now) == f"the files {now.hash}"
    version.record(tmp_path, now)
    (checkout / "configs/c.yaml").unlink()
    assert "different: configs/c.yaml" in version.differences(tmp_path, version.version(checkout))


def test_a_checkout_inside_anothers_repository_has_no_commit_of_its_own(checkout):
    git(checkout, "rm", "-rq", "--cached", ".")
    git(checkout, "commit", "-q", "--allow-empty", "-m", "nothing of ours")
    assert version.version(checkout).commit is None


def test_nothing_of_it_is_worth_a_run(checkout, tmp_path):
    now = version.version(checkout)
    version.record(tmp_path / "no such folder", now)
    (tmp_path / "code.json").write_text('[1, {"files": 3}, {"files": {}, "commit": null}')
    assert version.differences(tmp_path, now) is None
    (tmp_path / "code.json").write_text('[1, {"files": 3}]')
    version.record(tmp_path, now)
    assert version.differences(tmp_path, now) is None
