"""Make songs of BeepBox: ``python infer.py BUNDLE -n 4 --channels 3 --drums 1 --rhythm 4 --bars 8 -o out``.

Each becomes BeepBox's JSON, a URL that beepbox.co opens, a MIDI file with a track a channel, a piano roll and a
sidecar, from which --from makes it again. The same seed gives the same sketches, one by one or together.

    --continue FILE      begin with a song (JSON, URL in a text file, MIDI) and go on
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from audiocraft_ext.core.errors import run_cli
from audiocraft_ext.engine.cli import again, cap_threads, chosen, make_missing, note, say, say_sheet
from audiocraft_ext.songs.play.options import ASKED, SAMPLING, WRITTEN, build_parser, parse

__all__ = ["build_parser", "main"]
SHORT_URL = 400  # characters of one that is printed


def main(argv: list[str] | None = None) -> None:
    args = parse(argv, __doc__)
    cap_threads(args, note)
    from audiocraft_ext.songs.play import output as files
    from audiocraft_ext.songs.play.sketcher import Sketcher

    if args.from_ is not None:
        return again(args, Sketcher, files, make)
    sketcher = Sketcher.load(args.bundle, say=note, **chosen(args, ("threads", "precision", "max_batch")))
    output = files.Output(**{"picture": True} | chosen(args, WRITTEN))
    output.check()
    recipe = sketcher.recipe(file=getattr(args, "continue"), **chosen(args, (*ASKED, *SAMPLING)))
    paths = make(args, sketcher, recipe, range(args.n or 1), output)
    if args.sheet:
        from audiocraft_ext.songs.play.roll import sheet

        say_sheet(args, recipe, partial(sheet, [(files.stem_of(path), files.read(path)) for path in paths]))


def make(args: argparse.Namespace, sketcher, recipe, indices: range, output) -> list[Path]:
    """Make the sketches that are not there yet; returns BeepBox's JSON of each."""
    from audiocraft_ext.songs.beepbox.url_write import to_url
    from audiocraft_ext.songs.play import output as files
    from audiocraft_ext.songs.to_midi import notes_of

    def tell(sketch, written: list[Path]) -> float:
        song, url = sketch.song, to_url(sketch.song)
        link = url if len(url) <= SHORT_URL else next(path.name for path in written if path.name.endswith(files.URL))
        say(f"{written[0]}  {song.bars} bars, {song.tempo} BPM, {notes_of(song)} notes on {song.pitched} + "
            f"{len(song.channels) - song.pitched} channels: {link}")
        return song.seconds

    return make_missing(args, sketcher, recipe, indices, output, files, tell)


if __name__ == "__main__":
    run_cli(main)
