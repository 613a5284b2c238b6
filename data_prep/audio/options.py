"""The options of ``python -m data_prep.audio``, and the settings that they ask for."""

from __future__ import annotations

import argparse
from pathlib import Path

from audiocraft_ext.core.errors import Parser, UserError
from data_prep.audio.settings import TEMPOS, Settings
from data_prep.shared.cut import KINDS, Cut
from data_prep.shared.split import DUPLICATES

SHARDS = 8


def build_parser() -> Parser:
    parser = Parser(prog="python -m data_prep.audio", description="Turn a folder of sound into a token store.")
    add = parser.add_argument
    add("src", type=Path, help="folder of audio, searched recursively")
    add("store", type=Path, help="folder of the token store; made, continued or added to")
    add("--codec", help="spectral (default, of a store that is there its own), microcodec, encodec_32khz, or a folder")
    add("--codebooks", type=int, metavar="N", help="the first N of a spectral codec's (default: all)")
    add("--codec-path", type=Path, help="where the codec's files lie, if not in their usual place")
    add("--device", default="cpu", help="where the codec runs (default: cpu)")
    add("--dry-run", action="store_true", help="analyse, plan and report; encode nothing")
    add("--slices", type=Path, metavar="FOLDER", help="write what is kept as FLAC files too, a file a slice")
    add = parser.add_argument_group("what is kept").add_argument
    add("--cut", default="fixed:30", metavar="HOW", help=f"{', '.join(KINDS)} (default: fixed:30)")
    add("--valid-share", type=float, default=0.1, help="share of the files held out (default: 0.1)")
    add("--min-seconds", type=float, help="shorter pieces are left out (default: 1; with --cut onsets 0.05)")
    add("--silence", type=float, default=2.0, metavar="SECONDS",
        help="silence longer than this is cut out, as at both ends; 0 leaves all in (default: 2)")
    add("--silence-db", type=float, default=-60.0, metavar="DB",
        help="what counts as silence, beside the sound's own level (default: -60)")
    add("--duplicates", choices=DUPLICATES, default="drop",
        help="drop copies, keep them in one split, or do not look for them (default: drop)")
    add("--csv", type=Path, metavar="FILE", help="a table of labels: file, title, bpm, key, licence, keep, split; "
        "STORE/labels.csv is one")
    add = parser.add_argument_group("sound").add_argument
    add("--level", default="lufs:-18", metavar="HOW", help="lufs:-18 (default), peak:-1, off; never above -1 dBTP")
    add("--keep-dc", action="store_true", help="leave a constant offset in")
    add("--tempo", choices=TEMPOS, default="net", help="what finds the beats: our net (default), the library "
        "beat_this, nothing")
    add("--metronome", action="store_true", help="a stream more that says where in the bar a frame lies; a model that "
        "is trained on it plays in time at any --bpm")
    add("--lock-tempo", action="store_true", help="play what has a sure tempo up to 3%% faster or slower, so that a "
        "beat is a whole number of frames and a loop repeats the same codes (with --cut bars)")
    add("--variants", type=int, default=0, metavar="N", help="N more of each train source, altered")
    add("--augment", default="", metavar="HOW",
        help="in what: varispeed=6,gain=3,eq=3,shift=20,polarity,channel (%%, dB, dB, ms)")
    add("--seed", type=int, default=0, help="of the variants")
    add = parser.add_argument_group("machine").add_argument
    add("--workers", type=int, help="processes (default: one per core); 0: in this one, without limits")
    add("--timeout", type=float, default=60.0, metavar="SECONDS",
        help="for one file, and 10 more for each MB of it (default: 60)")
    add("--memory", type=float, default=2.0, metavar="GB", help="for one file (default: 2)")
    add("--executor", choices=("here", "local", "slurm"), default="here",
        help="in this process (default), or in jobs on this machine or on a Slurm cluster")
    add("--shards", type=int, metavar="N", help=f"jobs that each stage is divided into (default: {SHARDS})")
    add("--slurm", action="append", default=[], metavar="KEY=VALUE", help="partition=, account=, time= (minutes), "
        "mem_gb=, cpus=, or any option of sbatch; may be repeated")
    add("--retry", action="store_true", help="try files again that took too long or crashed the last time")
    return parser


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    args = build_parser().parse_args(argv)
    for name, value, least in (("--workers", args.workers, 0), ("--timeout", args.timeout, 1),
                               ("--memory", args.memory, 0.1), ("--shards", args.shards, 1)):
        if value is not None and not least <= value < 1e6:
            raise UserError(f"{name}: expected {least:g} or more, got {value:g}")
    if args.slurm and args.executor != "slurm":
        raise UserError(f"--slurm is for --executor slurm, not for --executor {args.executor}")
    if args.shards is not None and args.executor == "here":
        raise UserError("--shards is for --executor local or slurm, not for --executor here")
    if args.lock_tempo and Cut.parse(args.cut).kind != "bars":
        raise UserError(f"--lock-tempo goes with --cut bars:N, which cuts where the beat is; got --cut {args.cut}")
    if args.slices and args.slices.resolve().is_relative_to(args.src.resolve()):
        raise UserError(f"--slices {args.slices}: lies in the folder that is prepared, and would be taken for music "
                        "the next time")
    return args


def settings_of(args: argparse.Namespace, runtime: str) -> Settings:
    """What the options ask for.

    Raises:
        UserError: what makes no sense.
    """
    least = args.min_seconds if args.min_seconds is not None else 0.05 if args.cut == "onsets" else 1.0
    settings = Settings(str(Cut.parse(args.cut)), args.valid_share, least, args.level, not args.keep_dc, args.silence,
                        args.silence_db, args.duplicates, args.tempo, args.variants, args.augment, args.seed, runtime,
                        args.metronome)
    settings.check()
    return settings
