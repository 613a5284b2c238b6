"""The repository as a whole: its tree, what it may say about machines, its docstrings, and the installation step."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# infer.py and what it imports first: DESIGN's level 1. Heavier ones may only be imported inside a function.
HEAVY = {"torch", "torchaudio", "audiocraft", "flashy", "dora", "hydra", "omegaconf", "transformers", "librosa",
         "scipy"}


def tracked() -> list[Path]:
    """The files of the repository: git's list, or without git all that is not ignored by its folder's name."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True)
    if listed.returncode == 0 and listed.stdout:
        files = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
        return [file for file in files if file.is_file()]
    skip = {".venv", ".git", "__pycache__", "build", "outputs", "stores", "out"}
    return [file for file in ROOT.rglob("*") if file.is_file() and not skip & set(file.relative_to(ROOT).parts)]


def texts() -> list[tuple[Path, str]]:
    """(path, text) of each tracked file that is text."""
    found = []
    for file in tracked():
        data = file.read_bytes()
        if b"\0" not in data[:8192]:
            found.append((file.relative_to(ROOT), data.decode("utf-8")))
    return found


def modules() -> list[Path]:
    """Each tracked Python file, relative to the root."""
    return [file.relative_to(ROOT) for file in tracked() if file.suffix == ".py"]


def load_installer():
    """.ci/install.py as a module."""
    spec = importlib.util.spec_from_file_location("install", ROOT / ".ci" / "install.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tree_of(readme: str) -> list[str]:
    """The paths in the README's block that is fenced as ```tree: the first word of each line."""
    block = re.search(r"^```tree\n(.*?)^```", readme, re.M | re.S)
    return [line.split()[0] for line in block.group(1).splitlines() if line.strip()] if block else []


def imports_at_top(path: Path) -> set[str]:
    """Dotted names that ``path`` imports as soon as it is imported itself (not those inside functions)."""
    found, queue = set(), list(ast.parse(path.read_text()).body)
    while queue:
        node = queue.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            queue += node.orelse
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            queue += list(ast.iter_child_nodes(node))
    return found


def reached_from(start: Path) -> dict[str, str]:
    """Top-level packages that importing ``start`` brings, each with the file of ours that imports it."""
    reached, seen, queue = {}, set(), [start]
    while queue:
        path = queue.pop()
        if path in seen:
            continue
        seen.add(path)
        for name in imports_at_top(path):
            parts = name.split(".")
            reached.setdefault(parts[0], str(path.relative_to(ROOT)))
            for end in range(1, len(parts) + 1):  # importing a.b.c runs a, a.b and a.b.c
                base = ROOT.joinpath(*parts[:end])
                queue += [file for file in (base.with_suffix(".py"), base / "__init__.py") if file.is_file()]
    return reached


def test_every_module_says_what_it_is_for():
    silent = [
        str(path)
        for path in modules()
        if (ROOT / path).read_text().strip() and not ast.get_docstring(ast.parse((ROOT / path).read_text()))
    ]
    assert not silent


def test_no_file_names_a_machine():
    """No absolute path of somebody's machine and no place that packages come from."""
    # Written in pieces, so that this file does not find itself.
    paths = re.compile("(?<![\\w.])/(" + "|".join(["ho" + "me/", "Us" + "ers/", "ro" + "ot/", "wo" + "rk/"]) + ")\\w")
    hosts = re.compile("|".join(["py" + r"pi\.org", "pythonho" + r"sted\.org", "download" + r"\.pytorch\.org"]))
    found = [
        f"{path}:{number}: {line.strip()[:100]}"
        for path, text in texts()
        for number, line in enumerate(text.splitlines(), 1)
        if paths.search(line) or hosts.search(line)
    ]
    assert not found


def test_constraints_are_versions_only():
    pin = re.compile(r'[a-z0-9-]+==[0-9][0-9a-z.]*(; python_version (<|>=) "3\.\d+")?')
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert [line for line in lines if not pin.fullmatch(line)] == []
    keys = [re.sub("==[^;]*", "", line) for line in lines]
    assert len(keys) == len(set(keys)), "a package is pinned twice for the same Python"


def test_every_direct_dependency_is_pinned():
    def name_of(requirement):
        return re.sub("[_.]", "-", re.match(r"[\w.-]+", requirement).group()).lower()

    pinned = {name_of(line) for line in (ROOT / "constraints.txt").read_text().splitlines() if line[:1].isalnum()}
    wanted = re.findall(r'^    "([\w.-]+[<>=].*)",', (ROOT / "pyproject.toml").read_text(), re.M)
    assert len(wanted) > 20 and {name_of(requirement) for requirement in wanted} - pinned == set()


@pytest.mark.parametrize("start", ["infer.py", *(f"audiocraft_ext/{name}.py" for name in (
    "audio/cli", "audio/instrument", "audio/clips", "audio/weird/player", "drums/play/cli", "drums/play/drummer",
    "drums/play/output"))])
def test_sampling_imports_nothing_heavy(start):
    """By reading the sources; that a cold run agrees is tested where infer.py is."""
    reached = reached_from(ROOT / start)
    assert "numpy" in reached or "audiocraft_ext" in reached, "the walk through the imports found nothing"
    assert {name: by for name, by in reached.items() if name in HEAVY} == {}


def test_the_tree_in_the_readme_is_true():
    readme = ROOT / "README.md"
    listed = tree_of(readme.read_text()) if readme.is_file() else []
    assert [path for path in listed if not (ROOT / path).exists()] == []
    if listed:
        tops = {file.relative_to(ROOT).parts[0] for file in tracked()} - {".gitignore", ".gitattributes"}
        assert tops - {path.split("/")[0] for path in listed} == set(), "not in the README's tree"


def test_the_tree_is_read():
    readme = "x\n```tree\ninfer.py   the shortest path\n\ndocs/  more\n```\n```\nno\n```"
    assert tree_of(readme) == ["infer.py", "docs/"]


def test_ci_runs_the_fast_suite_and_then_the_rest():
    run = ROOT / ".ci" / "run"
    assert run.stat().st_mode & 0o111, "not executable"
    lines = [line for line in run.read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "set -euo pipefail" and lines[1].startswith("cd ")
    assert lines[2] == "export MICRO_SLURM=required MICRO_CHROMIUM=required"
    assert re.fullmatch(r"make( --[a-z-]+)* test", lines[3])
    assert re.fullmatch(r"exec make( --[a-z-]+)* test-rest", lines[4]) and len(lines) == 5


def test_no_test_is_left_out_by_all():
    """``make test`` and ``make test-rest`` part what ``make test-all`` runs, by the marks that there are."""
    listed = re.search(r"^markers = \[(.*?)^\]", (ROOT / "pyproject.toml").read_text(), re.M | re.S)[1]
    marks = set(re.findall(r'^    "(\w+): ', listed, re.M))
    makefile = (ROOT / "Makefile").read_text()
    rest = re.search(r"^REST = (.*)$", makefile, re.M)[1]
    assert set(rest.split(" or ")) == marks - {"slow", "gpu", "early"}
    said = dict(re.findall(r'^(test[a-z-]*): setup .*\n\t@\$\(PYTEST\) -m "(.*)" \$\(ARGS\)$', makefile, re.M))
    both = "not slow and not gpu"
    assert said == {"test": f"{both} and not ($(REST))", "test-rest": f"{both} and ($(REST))", "test-all": both}


@pytest.mark.parametrize(
    "text, expected",
    [("2.13.0+cpu", (2, 13)), ("2.6.0a0+git1", (2, 6)), ("2.10", (2, 10)), ("", (0, 0)), ("nightly", (0, 0))],
)
def test_installer_reads_versions(text, expected):
    assert load_installer().version_of(text) == expected


def test_installer_sees_cuda_in_a_plan():
    install = load_installer()
    cpu, cuda = {"metadata": {"name": "torch"}}, {"metadata": {"name": "nvidia-cublas"}}
    assert install.fetches_cuda({"install": [cpu, cuda]})
    assert not install.fetches_cuda({"install": [cpu]}) and not install.fetches_cuda({})


def test_installer_stamp_follows_its_inputs(tmp_path):
    install = load_installer()
    one = tmp_path / "pyproject.toml"
    one.write_text("a")
    before = install.stamp_of([one])
    assert before == install.stamp_of([one])
    one.write_text("b")
    assert before != install.stamp_of([one])


def test_installer_keeps_only_whole_environments(tmp_path):
    install = load_installer()
    assert not install.works(tmp_path)  # nothing there
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "" "$@"\n')
    (tmp_path / "bin" / "python").chmod(0o755)
    assert install.works(tmp_path)
    (tmp_path / ".place").write_text(str(tmp_path / "elsewhere"))
    assert not install.works(tmp_path)  # moved
    (tmp_path / ".place").write_text(str(tmp_path))
    assert install.works(tmp_path)
    (tmp_path / ".installing").touch()
    assert not install.works(tmp_path)  # interrupted


def test_installer_links_the_torch_of_the_machine(tmp_path):
    """Its files appear in the environment, and nothing else from their folder does."""
    install = load_installer()
    machine, site = tmp_path / "machine", tmp_path / "site"
    for name in ("torch", "torch-2.7.0.dist-info", "nvidia", "numpy"):
        (machine / name).mkdir(parents=True)
    site.mkdir()
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho {site}\n")  # stands for "where is your site-packages?"
    python.chmod(0o755)
    paths = [str(machine / name) for name in ("torch", "torch-2.7.0.dist-info", "nvidia", "gone")]
    install.link_torch({"version": "2.7.0", "paths": paths}, python)
    assert sorted(path.name for path in site.iterdir()) == ["nvidia", "torch", "torch-2.7.0.dist-info"]
    assert (site / "torch").resolve() == machine / "torch"


def test_installer_finds_this_torch():
    import torch

    found = load_installer().find_torch(sys.executable)
    assert found["version"] == torch.__version__
    assert any(Path(path).name == "torch" for path in found["paths"])
