"""A folder of MIDI to a token store: ``python -m data_prep.midi beats stores/beats --map drums12``, or of several
instruments ``python -m data_prep.midi songs stores/songs --codec notes``, or of songs of BeepBox, its own or converted
from MIDI, ``--codec song``.

Every file is read in a worker process, then all is decided, then what is kept becomes rows of bars in the codes of
``drum_grid``, ``drum_hits``, ``notes`` or ``song``. Interrupted, the same command goes on; run again, it takes in what
is new. At the end STORE/report.html shows what a model will learn from.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from audiocraft_ext.core.errors import Parser, UserError, run_cli
from audiocraft_ext.core.machine import physical_cores
from audiocraft_ext.drums.codec import GRID, HITS, NAMES, drum_map
from audiocraft_ext.drums.codec.base import STEPS, DrumCodec
from audiocraft_ext.drums.codec.grid import DrumGrid
from audiocraft_ext.drums.codec.hits import DrumHits
from audiocraft_ext.drums.midi import ALL
from audiocraft_ext.notes.codec import multitrack
from audiocraft_ext.notes.codec.multitrack import Multitrack
from audiocraft_ext.songs.beepbox.files import ENDINGS as SONG_ENDINGS
from audiocraft_ext.songs.beepbox.song import RHYTHMS
from audiocraft_ext.songs.codec import voices
from audiocraft_ext.songs.codec.voices import Voices
from audiocraft_ext.songs.from_midi import Settings as ConvertSettings
from data_prep.midi.settings import ENDINGS, MidiSettings
from data_prep.shared.cut import Cut
from data_prep.shared.split import DUPLICATES

if TYPE_CHECKING:  # workers import this module again, and need nothing of what it does at the end
    from data_prep.midi.chain import MidiWork, ReadFiles
    from data_prep.shared.split import Plan

CONVERT = ("channels", "drums", "rhythm")


def build_parser() -> Parser:
    parser = Parser(prog="python -m data_prep.midi", description="Turn a folder of MIDI into a token store.")
    add = parser.add_argument
    add("src", type=Path, help="folder of MIDI files, searched recursively")
    add("store", type=Path, help="folder of the token store; made, continued or added to")
    add("--dry-run", action="store_true", help="read, decide and report; encode nothing")
    add = parser.add_argument_group("what is read").add_argument
    add("--map", default="drums12", metavar="MAP", help="which pitches are which drum: "
        f"{', '.join(drum_map.shipped())} (default: drums12), or a JSON file")
    add("--channel", type=int, metavar="N", help="of the drums, 1 to 16 (default: 10, else it is guessed "
        "where notes look like drums, and said)")
    add("--all-channels", action="store_true", help="take notes of all channels for drums")
    add("--codec", choices=(*NAMES, multitrack.NAME, voices.NAME), default=GRID, help="how hits are told: on a grid, "
        f"or with {HITS} one after the other, which keeps rolls, flams and every velocity; {multitrack.NAME}: all "
        f"instruments; {voices.NAME}: as songs of BeepBox, whose JSON and URLs (in text files) are read too "
        f"(default: {GRID})")
    add("--channels", type=int, metavar="N", help=f"of pitches, at most, that a MIDI file is played on with --codec "
        f"{voices.NAME}, 1 to 10 (default: 4)")
    add("--drums", type=int, metavar="N", help="and of drums, 0 to 5 (default: 1)")
    add("--rhythm", type=int, choices=RHYTHMS, help="and its steps a beat (default: what fits each file)")
    add("--division", type=int, choices=multitrack.DIVISIONS, help=f"parts of a quarter note with --codec "
        f"{multitrack.NAME} (default: 24)")
    add("--steps", type=int, choices=STEPS, default=16, help="of the grid in a bar of 4/4 (default: 16)")
    add("--velocities", type=int, metavar="N", help="bins of velocity on the grid, 1 to 127 (default: 32)")
    add("--offsets", type=int, metavar="N", help="bins of the time in a step of the grid, odd (default: 25)")
    add = parser.add_argument_group("what is kept").add_argument
    add("--cut", default="bars:4", metavar="bars:N", help="rows of so many bars (default: bars:4)")
    add("--valid-share", type=float, default=0.1, help="share of the files held out (default: 0.1)")
    add("--min-bars", type=int, default=1, metavar="N", help="rows of fewer are left out (default: 1)")
    add("--empty-bars", type=int, default=2, metavar="N",
        help="more empty bars in a row are cut out, as at both ends (default: 2)")
    add("--duplicates", choices=DUPLICATES, default="drop",
        help="drop copies, keep them in one split, or do not look for them (default: drop)")
    add("--csv", type=Path, metavar="FILE", help="a table of labels: file, title, bpm, licence, keep, split, style, "
        "kind; STORE/labels.csv is one")
    add("--no-prompts", dest="prompts", action="store_false",
        help="do not say in words what a row is (genre, density, tempo, ...), so that none can be asked for")
    add = parser.add_argument_group("machine").add_argument
    add("--workers", type=int, help="processes (default: one per core); 0: in this one, without limits")
    add("--timeout", type=float, default=30.0, metavar="SECONDS", help="for one file (default: 30)")
    add("--memory", type=float, default=1.0, metavar="GB", help="for one file (default: 1)")
    return parser


def settings_of(args: argparse.Namespace) -> MidiSettings:
    """What the options ask for.

    Raises:
        UserError: what makes no sense.
    """
    if args.all_channels and args.channel is not None:
        raise UserError("--channel and --all-channels exclude each other")
    if args.channel is not None and not 1 <= args.channel <= 16:
        raise UserError(f"--channel: expected 1 to 16, got {args.channel}")
    for name, value, least in (("--workers", args.workers, 0), ("--timeout", args.timeout, 1),
                               ("--memory", args.memory, 0.1)):
        if value is not None and not least <= value < 1e6:
            raise UserError(f"{name}: expected {least:g} or more, got {value:g}")
    settings = MidiSettings(codec_of(args), str(Cut.parse(args.cut)), args.valid_share, args.min_bars, args.empty_bars,
                            args.duplicates, ALL if args.all_channels else args.channel, args.prompts,
                            ConvertSettings(**{name: getattr(args, name) for name in CONVERT
                                               if getattr(args, name) is not None}))
    settings.check()
    return settings


def codec_of(args: argparse.Namespace) -> DrumCodec | Multitrack | Voices:
    """The codec that the options ask for.

    Raises:
        UserError: what makes no sense.
    """
    if args.codec != voices.NAME:
        _refuse(args, CONVERT, f"is of --codec {voices.NAME}")
    if args.codec != multitrack.NAME:
        _refuse(args, ("division",), f"is of --codec {multitrack.NAME}")
    if args.codec not in NAMES:
        _refuse(args, ("map", "steps", "velocities", "offsets", "channel", "all_channels"), "is of drums")
    if args.codec == voices.NAME:
        return Voices()
    if args.codec == multitrack.NAME:
        return Multitrack(args.division or Multitrack.division)
    drums = drum_map.load(args.map)
    bins = {name: value for name in ("velocities", "offsets") if (value := getattr(args, name)) is not None}
    if args.codec == GRID:
        return DrumGrid(drums, args.steps, **bins)
    if bins:
        raise UserError(f"--{next(iter(bins))} is of {GRID}; {HITS} has every velocity and 24 places in a step")
    return DrumHits(drums, args.steps)


def _refuse(args: argparse.Namespace, names: tuple[str, ...], why: str) -> None:
    """Raise a :class:`UserError` where one of these options has another value than it has by itself."""
    for name in names:
        if getattr(args, name) != build_parser().get_default(name):
            raise UserError(f"--{name.replace('_', '-')} {why}, and the codec is {args.codec}; leave it out")


def main(argv: list[str] | None = None) -> None:
    args = build_parser().parse_args(argv)
    settings = settings_of(args)
    from audiocraft_ext.sound.files import COMPANIONS, EXTENSIONS
    from data_prep.midi.chain import MidiWork, prepare
    from data_prep.shared import labels, sources
    from data_prep.shared.resume import command_line

    kind = sources.Kind("MIDI", "MIDI", ENDINGS, COMPANIONS | EXTENSIONS)
    if settings.kind == "song":
        kind = sources.Kind("MIDI or BeepBox", "songs", ENDINGS | SONG_ENDINGS, COMPANIONS | EXTENSIONS)
    refused: dict[str, str] = {}
    found = {file.name: file for file in sources.walk(args.src, refused, kind)}
    rows = labels.table_of(args.csv, found, labels.DRUM_COLUMNS)
    command = command_line("data_prep.midi", argv)
    workers = physical_cores() if args.workers is None else args.workers
    work = MidiWork(args.src, args.store, found, settings, rows, command, args.map, workers, args.timeout,
                    round(args.memory * 2**30))
    plan, known, added = prepare(work, args.dry_run)
    plan = dataclasses.replace(plan, refused=plan.refused | refused)
    write(work, plan, known, added, args.dry_run)


def write(work: MidiWork, plan: Plan, known: ReadFiles, added: int, dry: bool) -> None:
    """Leave everything beside the store, and say what there is now.

    Raises:
        OSError: the disk is full, say; what was there stays.
    """
    from audiocraft_ext.store.reader import TokenStore
    from data_prep.midi import report as midi_report
    from data_prep.report import report
    from data_prep.shared import labels

    store = None if dry else TokenStore(work.store)
    sums = report.write(work.store, midi_report.report(work, plan, known, store))
    if store:
        labels.write_csv(work.store / "labels.csv", midi_report.labelled(store.rows, plan), labels.DRUM_COLUMNS)
    report.say(work.store, plan, sums, added, store,
                f"{len(store.codes):,} frames in {len(store.rows):,} rows" if store else "")


if __name__ == "__main__":
    run_cli(main)
