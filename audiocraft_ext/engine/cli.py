"""What the command lines of all kinds have in common; bundles are imported only when they are needed."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TextIO

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.core.files import free_name, make_folder, plain
from audiocraft_ext.core.machine import at_most_usable

if TYPE_CHECKING:
    from audiocraft_ext.engine.bundle import Bundle
    from audiocraft_ext.engine.player import PlayerBase

STARTED = time.perf_counter()  # of a cold start: infer.py imports this before all that takes time
MOST = 100_000  # of what :func:`check_common` counts
SHORT = {"n": "-n", "seconds": "-d"}  # options of one letter


def say(text: str, file: TextIO | None = None) -> None:
    """Print a line; a file's name may have bytes that are no text."""
    print(text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"), file=file)


def note(text: str) -> None:
    """A line for the user that is no result."""
    say(text, sys.stderr)


def cap_threads(args: argparse.Namespace, note: Callable[[str], object]) -> None:
    """As many as there are cores; ``note`` is told where that is fewer than were asked for."""
    if args.threads is not None:
        args.threads = at_most_usable(args.threads, "--threads", note)


def chosen(args: argparse.Namespace, names: tuple[str, ...]) -> dict:
    """Those options that were given."""
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}


def given(args: argparse.Namespace, names: tuple[str, ...]) -> str:
    """Those options that were given, as one types them."""
    return ", ".join(SHORT.get(name, "--" + name.replace("_", "-")) for name in names
                     if getattr(args, name) not in (None, False))


def add_sampling(add: Callable[..., object], each: str) -> None:
    """The options of sampling: ``1.1``, or one for each of what ``each`` says."""
    def numbers(text: str) -> float | tuple[float, ...]:
        try:
            values = tuple(float(part) for part in text.split(","))
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected a number, or one for each {each}, got {text!r}") from None
        return values if len(values) > 1 else values[0]

    add("--temperature", type=numbers, help="0 is always the likeliest, above 1 is wilder")
    add("--top-k", type=numbers, help="choose among so many of the likeliest codes; 0 is all of them")
    add("--top-p", type=numbers, help="choose among the likeliest that together have this probability; 1 is off")
    add("--min-p", type=numbers, help="no code less likely than so many times the likeliest; 0 is off")


def add_sound(add: Callable[..., object]) -> None:
    """The options of sound, for :class:`audiocraft_ext.midi.written.Written`."""
    add("--wav", action="store_true", default=None, help="the sound too, with the plain waves and the drum kit "
        "that are here")
    add("--soundfont", type=Path, metavar="FILE", help="the sound through this General MIDI SoundFont (.sf2)")
    add("--rate", type=int, help="of the sound, in Hz (default 44100)")


def check_sound(args: argparse.Namespace) -> None:
    """Raises a :class:`UserError` for a rate of nothing."""
    if args.rate is not None and not given(args, ("wav", "soundfont")):
        raise UserError("--rate is that of the sound, and none was asked for; give --wav or --soundfont too")


def check_common(args: argparse.Namespace, what: tuple[str, ...], bundles: str) -> None:
    """What the command lines of MIDI check alike.

    Args:
        what: the options that decide what is made; ``bundles``: of what the bundles are, for the error.

    Raises:
        UserError: a number that cannot be, an option beside --from, or no bundle.
    """
    for name, value in (("-n", args.n), ("--threads", args.threads), ("--batch", args.max_batch)):
        if value is not None and not 1 <= value <= MOST:
            raise UserError(f"{name}: expected 1 to {MOST}, got {value}")
    if args.from_ is not None and (others := given(args, (*what, "precision"))):
        raise UserError(f"--from takes everything from the file; leave out {others}")
    if args.from_ is None and args.bundle is None:
        raise UserError(f"name the folder of a bundle of {bundles}: infer.py BUNDLE")


def meter(such_as: str) -> Callable[[str], tuple[int, int]]:
    """Reads a time signature, ``4/4``, from a command line; ``such_as`` is for the error."""
    def read(text: str) -> tuple[int, int]:
        over, _, under = text.partition("/")
        try:
            return int(over), int(under)
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected a time signature such as {such_as}, got {text!r}") from None

    return read


def span(such_as: str) -> Callable[[str], tuple[int, int]]:
    """Reads bars, ``5-8`` or ``5``, from a command line; ``such_as`` is for the error."""
    def read(text: str) -> tuple[int, int]:
        first, _, last = text.partition("-")
        try:
            return int(first), int(last or first)
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected bars such as {such_as}, got {text!r}") from None

    return read


def find_bundle_of(json: Path, name: str | None, folder: str | None, bundle: str, bundle_hash: str) -> Bundle:
    """The bundle that made what a JSON is of.

    Args:
        name: as it was asked for; ``folder``, where it lay if it did not ship; ``bundle``, what it was called.

    Raises:
        UserError: it is not here, or another of that name.
    """
    from audiocraft_ext.engine.bundle import Bundle, find_bundle

    try:
        path = find_bundle(name or folder or bundle)
    except UserError as error:
        raise error if name else UserError(
            f"{json} was made with {folder or bundle}, which is not here; name the folder of that bundle: infer.py "
            f"FOLDER --from {json}") from None
    found = Bundle(path)
    if found.hash[:16] != bundle_hash:
        raise UserError(f"{json} was made with {bundle} {bundle_hash}, and {found.path} is {found.hash[:16]}; name the "
                        "folder of the right one")
    return found


def again(args: argparse.Namespace, player: type[PlayerBase], files: ModuleType,
          make: Callable[..., list[Path]]) -> None:
    """Make one clip from its sidecar, and say where it is not the same.

    Args:
        files: the module that writes and reads what the player makes.
        make: of the command line: makes clips of a recipe by their indices; returns their files.
    """
    known = files.read_sidecar(args.from_)
    recipe = replace(player.RECIPE.from_dict(known.recipe), title=str(known.about.get("title", "")))
    output = files.Output.from_dict(known.output)
    output.check()
    bundle = find_bundle_of(args.from_, args.bundle, known.about.get("bundle"), recipe.bundle, recipe.bundle_hash)
    opened = player(bundle, note, precision=recipe.precision, backend=recipe.backend,
                    **chosen(args, ("threads", "max_batch")))
    path = make(args, opened, recipe, range(known.index, known.index + 1), output)[0]
    if text := difference_note(path, known.sha256):
        note(text)


def make_missing(args: argparse.Namespace, player: PlayerBase, recipe: Any, indices: range, output: Any,
                 files: ModuleType, tell: Callable[[Any, list[Path]], float], seeded: bool = True) -> list[Path]:
    """Make those clips of a recipe that are not in the folder ``args.o`` yet; returns the main file of each.

    Args:
        files: as in :func:`again`.
        tell: says what became of a clip and its files; returns how many seconds of music it is.
        seeded: whether the clips depend on the seed.

    Raises:
        UserError, KeyboardInterrupt: it was stopped; the message says how many are in the folder.
    """
    make_folder(args.o)
    values = recipe.to_dict()

    def found() -> dict[int, Path | None]:
        return {index: files.there(args.o, values, index, output, recipe.title) for index in indices}

    places = found()
    missing = [index for index, path in places.items() if path is None]
    if len(missing) < len(places):
        note(f"{len(places) - len(missing)} of {len(places)} {player.MANY} are in {args.o} already")
    done, seconds = 0, 0.0
    seeded = seeded and not args.from_
    try:
        with closing(player.play(recipe, missing)) as clips:  # what is under way stops when this does
            for clip in clips:
                written = player.save(clip, args.o, output)
                places[clip.index] = written[0]
                done, seconds = done + 1, seconds + tell(clip, written)
    except (KeyboardInterrupt, UserError) as stop:
        there = sum(path is not None for path in found().values())  # it may have stopped between a file and the count
        so_far = (f"{there} of {len(places)} {player.MANY} are in {args.o}; the same command"
                  f"{f' with --seed {recipe.seed}' if seeded else ''} resumes")
        if isinstance(stop, UserError):
            raise UserError(f"{stop}; {so_far}" if done else str(stop)) from None
        raise KeyboardInterrupt(so_far) from None
    if done:
        seed = f"; --seed {recipe.seed} makes {'them' if done > 1 else 'it'} again" if seeded else ""
        print(f"{done} {player.MANY if done > 1 else player.ONE}, {seconds:.1f} s of music in "
              f"{time.perf_counter() - STARTED:.2f} s, from a cold start{seed}")
    return list(places.values())


def say_sheet(args: argparse.Namespace, recipe: Any, draw: Callable[[Path], list[Path]]) -> None:
    """Let ``draw`` make a picture of all clips of a recipe in the folder ``args.o``, and say the files."""
    say("\n".join(map(str, draw(free_name(args.o / f"{plain(recipe.bundle)}_seed{recipe.seed}.png")))))


def difference_note(path: Path, sha256: str) -> str:
    """A note where a file that was made again has other bytes; "" where it has the same."""
    from audiocraft_ext.core import files

    if files.sha256(path) == sha256:
        return ""
    return (f"note: {path} is not the same to the last bit. If it was there already, it was changed since; if not, "
            "another machine or version of ONNX Runtime adds up in another order")
