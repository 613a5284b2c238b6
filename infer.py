#!/usr/bin/env python3
"""Make clips with a bundle of any kind: ``python infer.py [BUNDLE] ...``.

The kind of the bundle decides on the command line: :mod:`audiocraft_ext.audio.cli`,
:mod:`audiocraft_ext.drums.play.cli`, :mod:`audiocraft_ext.notes.play.cli`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from audiocraft_ext.engine import cli as commands  # noqa: F401  isort: skip  (its clock counts the cold start)
from audiocraft_ext import kinds
from audiocraft_ext.core.errors import run_cli
from audiocraft_ext.core.files import json_or_empty


def main(argv: list[str] | None = None) -> object:
    argv = sys.argv[1:] if argv is None else argv
    return kinds.command_line(kind_of(argv)).main(argv)


def kind_of(argv: list[str]) -> str | None:
    """Of the codes of the bundle that is named, or that made the JSON that is to be made again; None where there is
    none, or none that says its kind."""
    arguments = iter(argv)
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name == "--from":
            return _kind_in(json_or_empty(Path(value or next(arguments, ""))))
        if not argument.startswith("-") or argument == "-":
            from audiocraft_ext.engine.bundle import BUNDLES

            folder = next((f for f in (Path(argument), BUNDLES / argument) if (f / "model.json").is_file()), None)
            if folder is not None:
                return _kind_in(json_or_empty(folder / "model.json").get("spec"))
        elif not value and _takes_value(name):
            next(arguments, None)
    return None


def _takes_value(option: str) -> bool:
    """Whether the argument after this option is its value, which is no bundle then."""
    for action in kinds.command_line(None).build_parser()._actions:
        if option in action.option_strings:
            return action.nargs != 0
    return len(option) == 2


def _kind_in(found: object) -> str | None:
    kind = found.get("kind") if isinstance(found, dict) else None
    return kind if isinstance(kind, str) else None


if __name__ == "__main__":
    run_cli(main)
