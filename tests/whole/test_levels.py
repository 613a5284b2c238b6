"""The levels of docs/DESIGN.md: every folder has one, imports at the top of a file go down or stay, and the folders
of the kinds (what knows sound, what knows drums) are reached by the table of kinds and by the programs alone."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# The longest path that a file begins with decides. None: a program or a test bench, which may import anything.
LEVELS: dict[str, int | None] = {
    "audiocraft_ext/__init__.py": 0, "audiocraft_ext/kinds.py": 0, "audiocraft_ext/core": 0, "audiocraft_ext/store": 0,
    "audiocraft_ext/runs": 0, "audiocraft_ext/runs/demo.py": 1, "audiocraft_ext/midi": 0, "audiocraft_ext/drums": 0,
    "audiocraft_ext/sound": 1, "audiocraft_ext/midi/kit.py": 1, "audiocraft_ext/midi/soundfont.py": 1,
    "audiocraft_ext/midi/band.py": 1, "audiocraft_ext/midi/roll.py": 1,
    "audiocraft_ext/drums/play": 1, "audiocraft_ext/drums/kind.py": 1, "audiocraft_ext/drums/demo.py": 1,
    "audiocraft_ext/notes": 0, "audiocraft_ext/notes/play": 1, "audiocraft_ext/notes/kind.py": 1,
    "audiocraft_ext/notes/demo.py": 1, "audiocraft_ext/weightless.py": 0,
    "audiocraft_ext/songs": 0, "audiocraft_ext/songs/play": 1, "audiocraft_ext/songs/demo.py": 1,
    "audiocraft_ext/engine": 1, "audiocraft_ext/audio": 1, "audiocraft_ext/audio/kind.py": 2,
    "audiocraft_ext/audio/demo.py": 2, "audiocraft_ext/audio/codec": 2, "audiocraft_ext/audio/codec/decoder.py": 1,
    "audiocraft_ext/page": 1, "audiocraft_ext/hub": 1, "audiocraft_ext/codecs": 2, "audiocraft_ext/soup.py": 2,
    "audiocraft_ext/model": 2, "audiocraft_ext/model/config.py": 0, "audiocraft_ext/model/blocks.py": 0,
    "audiocraft_ext/model/assemble.py": 0,
    "audiocraft_ext/engine/torch": 2, "audiocraft_ext/export": 2, "audiocraft_ext/evaluate": 2,
    "audiocraft_ext/training": 3, "audiocraft_ext/studio": 3, "audiocraft_ext/sweep": 3,
    "audiocraft_ext/grids": 3, "audiocraft_ext/train.py": 3,
    "audiocraft_ext/compat.py": 3,
    "data_prep": 2, "benchmarks": None, "infer.py": 1,
}
PACKAGES = [  # what each level may import on top of the one below
    {"numpy", "tqdm"},
    {"onnxruntime", "soundfile", "soxr", "scipy", "av", "matplotlib", "pyloudnorm", "tinytag", "jinja2", "submitit"},
    {"torch", "onnx", "safetensors", "omegaconf", "yaml", "mido"},
    {"audiocraft", "flashy", "dora", "hydra", "transformers", "starlette", "uvicorn"},
]
KIND_FOLDERS = {"audiocraft_ext/audio", "audiocraft_ext/drums", "audiocraft_ext/notes", "audiocraft_ext/songs"}
MAY_REACH = ("audiocraft_ext/kinds.py", "audiocraft_ext/train.py", "audiocraft_ext/__init__.py", "infer.py",
             "audiocraft_ext/codecs", "data_prep", "benchmarks")


def files() -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for top in ("audiocraft_ext", "data_prep", "benchmarks")
                  for path in (ROOT / top).rglob("*.py")) + ["infer.py"]


def under(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + "/")


def level_of(path: str) -> int | None:
    return LEVELS[max((place for place in LEVELS if under(path, place)), key=len)]


def module_file(name: str) -> str | None:
    """The file of a module of ours."""
    base = ROOT.joinpath(*name.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return str(path.relative_to(ROOT))
    return None


def imported(path: str, everywhere: bool = False) -> list[tuple[int, str]]:
    """``(line, dotted name)`` of what a file imports when it is imported, or anywhere; annotations' imports never
    count."""
    found, queue = [], [ast.parse((ROOT / path).read_text("utf-8"))]
    while queue:
        node = queue.pop()
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            parts = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [(node.lineno, part if module_file(part) else node.module) for part in parts]
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            queue += node.orelse
        elif everywhere or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            queue += list(ast.iter_child_nodes(node))
    return found


@pytest.mark.parametrize("path", files())
def test_imports_go_down(path):
    level = level_of(path)
    if level is None:
        return
    allowed = set().union(*PACKAGES[: level + 1]) | sys.stdlib_module_names
    wrong = []
    for line, name in imported(path):
        file = module_file(name)
        if file is None:
            if name.split(".")[0] not in allowed:
                wrong.append(f"{path}:{line}: {name} is no package of level {level}")
        elif (other := level_of(file)) is None or other > level:
            wrong.append(f"{path}:{line}: {name} is of level {other}, this file of level {level}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", files())
def test_kinds_are_reached_by_the_table_alone(path):
    own = next((folder for folder in KIND_FOLDERS if under(path, folder)), None)
    if any(under(path, place) for place in MAY_REACH):
        return
    for line, name in imported(path, everywhere=True):
        file = module_file(name)
        other = file and next((folder for folder in KIND_FOLDERS if under(file, folder)), None)
        assert not other or other == own, f"{path}:{line}: {name} is reached by way of audiocraft_ext.kinds"


def test_no_circles():
    """Between the folders, for imports at the top. A file beside the folders, and a demo, stand for themselves."""
    def folder_of(path: str) -> str:
        alone = path.count("/") < 2 or path.endswith("/demo.py")
        return path if alone else str(Path(path).parent)

    arrows: dict[str, set[str]] = {}
    for path in files():
        for _, name in imported(path) if level_of(path) is not None else ():
            file = module_file(name)
            if file and folder_of(file) != folder_of(path):
                arrows.setdefault(folder_of(path), set()).add(folder_of(file))

    def visit(folder: str, way: tuple[str, ...]) -> None:
        assert folder not in way, " -> ".join([*way[way.index(folder):], folder])
        for other in arrows.get(folder, ()):
            visit(other, (*way, folder))

    for folder in list(arrows):
        visit(folder, ())
