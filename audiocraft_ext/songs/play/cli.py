"""Make songs of BeepBox: ``python infer.py BUNDLE -n 4 --channels 3 --drums 1 --rhythm 4 --bars 8 -o out``.

Each becomes BeepBox's JSON, a URL that beepbox.co opens, a MIDI file with a track a channel, a piano roll and a
sidecar, from which --from makes it again. The same seed gives the same sketches, one by one or together.

    --continue FILE      begin with a song (JSON, URL in a text file, MIDI) and go on
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from audiocraft_ext.core.errors import UserError, run_cli
from audiocraft_ext.core.files import make_folder
from audiocraft_ext.engine.cli import STARTED, again, cap_threads, chosen, note, say
from audiocraft_ext.songs.play.options import ASKED, SAMPLING, build_parser, parse

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
    output = files.Output(args.picture is not False)
    output.check()
    recipe = sketcher.recipe(file=getattr(args, "continue"), **chosen(args, (*ASKED, *SAMPLING)))
    make(args, sketcher, recipe, range(args.n or 1), output)


def make(args: argparse.Namespace, sketcher, recipe, indices: range, output) -> list[Path]:
    """Make the sketches that are not there yet; returns BeepBox's JSON of each."""
    from audiocraft_ext.songs.beepbox.url_write import to_url
    from audiocraft_ext.songs.play.output import URL, notes_of, there

    make_folder(args.o)
    values = recipe.to_dict()
    found = {index: there(args.o, values, index, output, recipe.title) for index in indices}
    missing = [index for index, path in found.items() if path is None]
    if len(missing) < len(found):
        note(f"{len(found) - len(missing)} of {len(found)} sketches are in {args.o} already")
    done, seconds = 0, 0.0
    seed = "" if args.from_ else f" with --seed {recipe.seed}"
    try:
        for sketch in sketcher.play(recipe, missing):
            files = sketcher.save(sketch, args.o, output)
            found[sketch.index], song = files[0], sketch.song
            url = to_url(song)
            link = url if len(url) <= SHORT_URL else next(path.name for path in files if path.name.endswith(URL))
            say(f"{files[0]}  {song.bars} bars, {song.tempo} BPM, {notes_of(song)} notes on {song.pitched} + "
                f"{len(song.channels) - song.pitched} channels: {link}")
            done, seconds = done + 1, seconds + song.seconds
    except (KeyboardInterrupt, UserError) as stop:
        so_far = f"{done} of {len(missing)} sketches were made; the same command{seed} resumes"
        if isinstance(stop, UserError):
            raise UserError(f"{stop}; {so_far}" if done else str(stop)) from None
        raise KeyboardInterrupt(so_far) from None
    if done:
        again = f";{seed.replace(' with', '')} makes {'them' if done > 1 else 'it'} again" if seed else ""
        print(f"{done} sketch{'es' * (done != 1)}, {seconds:.1f} s of music in {time.perf_counter() - STARTED:.2f} s, "
              f"from a cold start{again}")
    return list(found.values())


if __name__ == "__main__":
    run_cli(main)
