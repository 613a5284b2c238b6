"""``dora``: Dora's own command line, for this package from any folder, with a few more options for ``dora grid``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from audiocraft_ext.core.errors import UserError, run_cli
from audiocraft_ext.sweep.options import OPTIONS, RETRIES

PACKAGE = "audiocraft_ext"
ROOT = Path(__file__).resolve().parents[2]


def parser() -> argparse.ArgumentParser:
    """Dora's; each of its options means what it does there."""
    import dora.__main__

    whole = dora.__main__.get_parser.__wrapped__()
    commands = next(action for action in whole._actions if isinstance(action, argparse._SubParsersAction))
    grid = commands.choices["grid"]
    whole.error = grid.error = _wrong
    ours = grid.add_argument_group("on one machine, and the table")
    ours.add_argument("--local", action="store_true", default=OPTIONS.local,
                      help="Run on this machine: a queue over its GPUs, or over CPU slots. Default where there is no "
                           "srun.")
    ours.add_argument("--slots", type=_count(1, 256), metavar="N",
                      help="With --local: runs at a time. Default: the number of GPUs, or of cores without a GPU.")
    ours.add_argument("--retries", type=_count(0, 100), metavar="N", default=OPTIONS.retries,
                      help=f"With --local: how often a run that crashed is tried again, from its checkpoint. Default: "
                           f"{RETRIES}. Like --slots it may be changed while the grid runs.")
    ours.add_argument("--html", type=Path, metavar="FILE",
                      help="Write a page with the table, the curves and a player for every run's samples; kept up to "
                           "date while this command runs.")
    ours.add_argument("--sort", metavar="COLUMN",
                      help="Sort the table by one of its columns (best, valid, train, state, lr, ...), smallest first; "
                           "--sort=-COLUMN: largest first. Default: best.")
    grid.set_defaults(action=_grid)
    grid.parse_known_args = _patterns_anywhere(grid.parse_known_args)
    return whole


def _patterns_anywhere(parse: Callable) -> Callable:
    """argparse takes words after an option for a mistake."""
    def known(*args, **kwargs):
        found, rest = parse(*args, **kwargs)
        found.patterns = [*found.patterns, *(word for word in rest if not word.startswith("-"))]
        return found, [word for word in rest if word.startswith("-")]

    return known


def _wrong(message: str):
    raise UserError(f"{message}; see dora --help, dora grid --help")


def _count(least: int, most: int):
    def number(text: str) -> int:
        if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"expected {least} to {most}, got {text!r}")
        return int(text)

    return number


def _grid(args: argparse.Namespace, main) -> None:
    from dora import grid

    from audiocraft_ext.sweep.grid import check_grid
    from audiocraft_ext.sweep.page import check_ours

    check_grid(args.grid, main)
    if args.html:
        check_ours(args.html)
    for key in ("grid", "local", "slots", "retries", "html", "sort"):
        setattr(OPTIONS, key, getattr(args, key))
    grid.grid_action(args, main)


def main() -> None:
    """The console script."""
    here = Path.cwd() / PACKAGE  # in another checkout, its code: so does Dora
    if (here / "sweep" / "cli.py").is_file() and not here.samefile(ROOT / PACKAGE):
        os.execv(sys.executable, [sys.executable, "-m", "audiocraft_ext.sweep.cli", *sys.argv[1:]])
    os.environ.setdefault("DORA_PACKAGE", PACKAGE)
    run_cli(_main)


def _main() -> None:
    try:
        import dora.__main__ as command
    except ImportError:
        raise UserError("training is not installed here; `make setup` in the checkout installs it") from None
    if not hasattr(command.get_parser, "__wrapped__"):
        theirs = command.get_parser
        command.get_parser = parser
        parser.__wrapped__ = theirs
    command.main()


if __name__ == "__main__":
    main()
