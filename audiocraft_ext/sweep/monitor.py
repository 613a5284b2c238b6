"""The table of a grid in the place of Dora's: from what the runs write, every second and not every five minutes.

How often a queue is asked stays submitit's affair: its watchers pass over questions that come too soon.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from omegaconf import OmegaConf

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.sweep.options import OPTIONS
from audiocraft_ext.sweep.page import check_place, write_page
from audiocraft_ext.sweep.summary import Row, common, differences, summary
from audiocraft_ext.sweep.table import Screen, ordered

EVERY_S = 1.0
PAGE_EVERY_S = 30.0  # at the soonest: with clips in it, a page is megabytes


def monitor(args, main, explorer, herd: list, maybe_print: Callable) -> bool:
    """Show the runs of a grid until all have ended, or once (``--no_monitoring``); Dora's signature.

    Returns:
        Whether all have ended, each in its own way.
    """
    check(args, main, herd)
    settings = [_settings(main, sheep.xp) for sheep in herd]
    differing, shared = differences(_filled(settings, herd)), common(settings)
    if shared:
        maybe_print("all runs: " + " ".join(f"{key}={value}" for key, value in shared.items()))
    screen = Screen(maybe_print, terminal=False if args.jupyter else None, every_s=60 * args.interval)
    written, note = None, ""
    while True:
        ended = all(sheep.is_done() for sheep in herd)
        rows = _rows(herd, differing, _epochs(args, herd, main))
        last = ended or not args.monitor
        news = screen.show(rows, OPTIONS.sort, note)
        if OPTIONS.html and (last or written is None or news and time.monotonic() - written > PAGE_EVERY_S):
            note, written = _page(rows, shared), time.monotonic()
        if last:
            screen.end(note)
            return ended
        time.sleep(EVERY_S)


def check(args, main, herd: list) -> None:
    """What is wrong with the table or the page that was asked for, before anything else.

    Raises:
        UserError: there is no such column or run; the page cannot be written.
    """
    settings = [_settings(main, sheep.xp) for sheep in herd]
    if herd:
        ordered(_rows(herd, differences(_filled(settings, herd))), OPTIONS.sort)
    if args.trim is not None:
        check_index("--trim", args.trim, herd)
    if OPTIONS.html:
        check_place(OPTIONS.html)


def check_index(option: str, index: int, herd: list) -> None:
    """
    Raises:
        UserError: no run has that number.
    """
    if not 0 <= index < len(herd):
        raise UserError(f"{option} {index}: no such run; there are {len(herd)}, the first is 0")


def _rows(herd: list, differing: list[dict[str, str]], epochs: int | None = None) -> list[Row]:
    return [summary(sheep.xp.folder, index, settings, sheep.state(), sheep.current_job_id, sheep.log, epochs)
            for index, (sheep, settings) in enumerate(zip(herd, differing))]


def _settings(main, xp) -> dict[str, object]:
    """What a run was given beyond the defaults, as in its name."""
    return dict(main.get_name_parts(xp))


def _filled(settings: list[dict], herd: list) -> list[Mapping[str, object]]:
    """The same keys for all: a run that leaves one alone has the default, which is in its config."""
    keys = list(dict.fromkeys(key for run in settings for key in run))
    return [{key: run[key] if key in run else OmegaConf.select(sheep.xp.cfg, key) for key in keys}
            for run, sheep in zip(settings, herd)]


def _epochs(args, herd: list, main) -> int | None:
    """Dora's ``--trim INDEX`` and ``--trim_last``: compare at the epoch of that run, or of the one least advanced."""
    if args.trim is None and not args.trim_last:
        return None
    lengths = [len(main.get_xp_history(sheep.xp)) for sheep in herd]
    return max(1, lengths[args.trim] if args.trim is not None else min(lengths))


def _page(rows: list[Row], shared: Mapping[str, str]) -> str:
    """Writes the page; a line that says so. A full disk must not end the watch."""
    try:
        return write_page(OPTIONS.html, rows, OPTIONS.grid, shared, OPTIONS.sort)
    except OSError as error:
        return f"warning: {OPTIONS.html} was not written: {error.strerror or error}"
