"""A grid as one self-contained page: table, loss curves, and the sounds of all runs side by side.

    python -m audiocraft_ext.sweep.page jungle -o jungle.html     # a grid, or folders of runs
    dora grid jungle --html jungle.html                           # the same, kept up to date
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from audiocraft_ext.core.errors import Parser, UserError, run_cli
from audiocraft_ext.core.files import write
from audiocraft_ext.core.html import csp
from audiocraft_ext.runs.record import read_curve
from audiocraft_ext.sweep import sounds
from audiocraft_ext.sweep.chart import HEIGHT, WIDTH, chart
from audiocraft_ext.sweep.summary import FAILED, KINDS, RUNNING, WAITING, Row, common, differences, overrides, summary
from audiocraft_ext.sweep.table import columns, loss, ordered, shown, total

LARGEST = 50_000_000  # bytes of sound; a page of which a browser takes long to open helps nobody
COLOURS = 7  # of the template's; then they come again with dashes
DASHES = ("none", "7 4", "2 3")
MARK = '<meta name="generator" content="micro-musicgen sweep">'  # what may be written over
LATER = {name: place for place, names in enumerate([
    ["best"], ["state", "step"], ["valid", "train", "tok/s", "left"], ["epoch", "tries", "sig"]], 1) for name in names}
HEADS = {"tok/s": "tokens/s", "left": "time left", "best": "best valid"}


def write_page(path: Path, rows: Sequence[Row], title: str, shared: Mapping[str, str] | None = None,
               sort: str | None = None) -> str:
    """Write the page of ``rows``, aside and then in its place.

    Args:
        shared: settings that all runs have alike.
        sort: a column, as for the table.

    Returns:
        A line that says what is in it.

    Raises:
        UserError: ``path`` is somebody else's file; there is no such column.
    """
    check_ours(path)
    rows = ordered(rows, sort)
    players, left_out = _players(rows)
    text = _render(rows, title, shared or {}, players, left_out, sort or "best")
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, text, shared=True)
    clips = sum(len(cards) for _, cards in players)
    return f"page: {shown(path)}, {len(rows)} runs, {clips} clips, {path.stat().st_size / 1e6:.1f} MB"


def check_place(path: Path) -> None:
    """Makes its folder.

    Raises:
        UserError: a page cannot be written there, or there is something else.
    """
    check_ours(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from None


def check_ours(path: Path) -> None:
    """Only a page is written over.

    Raises:
        UserError: there is something else.
    """
    try:
        with path.open("rb") as file:
            if MARK.encode() not in file.read(2000):
                raise UserError(f"{path} is there and is no page of ours; expected a new file, or an older page")
    except (FileNotFoundError, NotADirectoryError):
        pass
    except IsADirectoryError:
        raise UserError(f"{path} is a folder; expected a file for the page, {path / 'page.html'} for example") from None


def _players(rows: Sequence[Row]) -> tuple[list[tuple[int, list[tuple[Row, sounds.Sound]]]], int]:
    """By the number of the clip: the runs that have it, and its sound. And how many did not fit."""
    there = {row.sig: sounds.clips(row.samples) for row in rows if row.samples}
    room, left_out, players = LARGEST, 0, []
    for clip in sorted({clip for clips in there.values() for clip in clips}):
        cards = []
        for row in rows:
            path = there.get(row.sig, {}).get(clip)
            made = sounds.sound(path) if path and room > 0 else None
            if made and len(made.url) <= room:
                room -= len(made.url)
                cards.append((row, made))
            elif path and (made or room <= 0):
                left_out, room = left_out + 1, 0
        if cards:
            players.append((clip, cards))
    return players, left_out


def _render(rows: Sequence[Row], title: str, shared: Mapping[str, str], players: list, left_out: int, by: str) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    env = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
                      loader=FileSystemLoader(Path(__file__).parent))
    env.filters |= {"csp": csp, "shown": shown, "loss": loss, "uri": lambda path: Path(os.path.abspath(path)).as_uri()}
    best = min((row for row in rows if row.best is not None), key=lambda row: row.best, default=None)
    picture = chart([read_curve(row.folder) for row in rows])
    shows = [column for column in columns(rows) if column.name != "sounds" and any(column.text(row) for row in rows)]
    shows.sort(key=lambda column: LATER.get(column.name, 0))
    return env.get_template("page.j2").render(
        rows=rows, title=title, shared=shared, players=players, left_out=left_out, best=best, picture=picture,
        columns=shows, heads=HEADS, total=total(rows), when=time.strftime("%Y-%m-%d %H:%M"), mark=MARK,
        looks={row.sig: (row.index % COLOURS, DASHES[row.index // COLOURS % len(DASHES)]) for row in rows},
        failed=[row for row in rows if row.error or row.state in KINDS[FAILED]],
        going=any(row.state in (RUNNING, WAITING) for row in rows),
        by=by.removeprefix("-"), direction="descending" if by.startswith("-") else "ascending",
        silent=[row for row in rows if not any(row is card[0] for _, cards in players for card in cards)],
        width=WIDTH, height=HEIGHT, largest=LARGEST // 1_000_000)


def find_runs(names: Sequence[str]) -> list[Path]:
    """Folders of runs: each name is one, or a folder of some, or a grid's name.

    Raises:
        UserError: a name is neither.
    """
    outputs = Path(os.environ.get("MICRO_OUTPUTS") or "outputs")
    found: dict[str, Path] = {}
    for name in names:
        place = next((p for p in (Path(name), outputs / "grids" / name, outputs / "xps" / name) if p.is_dir()), None)
        if place is None:
            grids = sorted(p.name for p in (outputs / "grids").glob("*") if p.is_dir())
            raise UserError(f"{name}: expected a grid that was started, or a folder of runs; grids in {outputs} are: "
                            f"{', '.join(grids) or 'none'}")
        runs = [place] if _is_run(place) else sorted(filter(_is_run, place.iterdir()))
        if not runs:
            raise UserError(f"{place}: no runs in it")
        found |= {run.resolve().name: run.resolve() for run in runs}
    return list(found.values())


def _is_run(folder: Path) -> bool:
    return (folder / ".argv.json").is_file()


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(prog="python -m audiocraft_ext.sweep.page", description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", help="a grid's name, or folders of runs")
    parser.add_argument("-o", "--out", type=Path, required=True, help="the page")
    parser.add_argument("--title", help="above it (default: the runs' names)")
    parser.add_argument("--sort", help="a column of the table (default: best)")
    args = parser.parse_args(argv)
    folders = find_runs(args.runs)
    settings = [overrides(folder) for folder in folders]
    rows = [summary(folder, index, differing)
            for index, (folder, differing) in enumerate(zip(folders, differences(settings)))]
    title = args.title or " ".join(Path(name).name for name in args.runs)
    print(write_page(args.out, rows, title, common(settings), args.sort))


if __name__ == "__main__":
    run_cli(main)
