#!/usr/bin/env python3
"""Make clips with a bundle of any kind: ``python infer.py [BUNDLE] ...``.

The kind of the bundle decides on the command line: :mod:`audiocraft_ext.audio.cli`,
:mod:`audiocraft_ext.drums.play.cli`, :mod:`audiocraft_ext.notes.play.cli`, :mod:`audiocraft_ext.songs.play.cli`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from audiocraft_ext.engine import cli as commands  # noqa: F401  isort: skip  (its clock counts the cold start)
from audiocraft_ext import kinds
from audiocraft_ext.core.errors import UserError, run_cli
from audiocraft_ext.core.files import json_or_empty, rereadable


def main(argv: list[str] | None = None) -> object:
    argv = sys.argv[1:] if argv is None else argv
    if (piped := _piped_json(argv)) is None:
        return kinds.command_line(kind_of(argv)).main(argv)
    at, before, name = piped  # it is read twice: for the kind, and for the clip
    with rereadable(name, f"{name}: the JSON of --from", "the JSON that lies beside a clip") as copy:
        argv = [*argv[:at], f"{before}{copy}", *argv[at + 1 :]]
        try:
            return kinds.command_line(kind_of(argv)).main(argv)
        except UserError as error:
            raise UserError(str(error).replace(str(copy), name)) from None


def _piped_json(argv: list[str]) -> tuple[int, str, str] | None:
    """Where ``--from`` names what is no file (-, a pipe): the place of that argument, what stands before the name in
    it, and the name."""
    for at, argument in enumerate(argv):
        option, equals, name = argument.partition("=")
        if option == "--from" and (equals or at + 1 < len(argv)):
            at, before, name = (at, "--from=", name) if equals else (at + 1, "", argv[at + 1])
            if name == "-" or name and os.path.exists(name) and not os.path.isfile(name):
                return at, before, name
    return None


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
