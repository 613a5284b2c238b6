"""What the README tells people to type is there."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from tests.helpers.programs import run_here
from tests.training.test_configs import SEED_COMMAND

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```", README, re.M | re.S)
COMMANDS = [line.split("  #")[0].strip() for block in BLOCKS
            for line in block.replace("\\\n", " ").splitlines() if line.strip()]
DRUMS = [line.split("  #")[0].strip()
         for block in re.findall(r"^```sh\n(.*?)^```", (ROOT / "docs/DRUMS.md").read_text("utf-8"), re.M | re.S)
         for line in block.splitlines() if line.startswith("python infer.py")]


def test_the_seeds_command_line_stands_as_it_is_tested():
    line = next(c for c in COMMANDS if "musicgen_base_32khz" in c)
    assert line.split() == ["dora", "run", *SEED_COMMAND]


def test_every_make_target_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    named = set(re.findall(r"\bmake ([a-z-]+)", "\n".join(COMMANDS)))
    assert {"demo", "test"} <= named <= targets


@cache
def help_of(*program: str) -> str:
    code, out, err = run_here(*program, "--help")
    assert (code, err) == (0, "")
    return out


@pytest.mark.parametrize("command", sorted({*DRUMS, *(c for c in COMMANDS
                                                      if c.startswith(("python ", "./train.sh --")))}))
def test_every_option_is_known(command):
    words = command.split()
    program = words[1:3] if words[1] == "-m" else words[1:2]
    if words[0] == "./train.sh":
        program = ["-m", "audiocraft_ext.drums.demo" if "--midi" in words else "audiocraft_ext.audio.demo"]
    elif words[1:3] in (["infer.py", kind] for kind in ("drums", "notes", "songs")):
        program = words[1:3]
    said = help_of(*program)
    assert [w for w in words if re.fullmatch(r"--?[a-z][a-z-]*", w) and w != "-m" and w not in said] == []


def test_every_link_leads_somewhere():
    links = [target for target in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in target]
    assert links and [target for target in links if not (ROOT / target).exists()] == []


def test_nothing_is_left_to_fill_in():
    assert re.findall(r"@[A-Z]+@|TODO|FIXME", README) == []
