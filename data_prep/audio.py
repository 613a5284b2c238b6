"""A folder of sound to a token store: ``python -m data_prep.audio breaks stores/breaks --codec microcodec``.

Every file is read once, mixed to mono, resampled, encoded, and cut into segments. Files are divided into train and
valid by name, so no file is on both sides. Interrupted, the same command goes on; run again, it takes in what is new.

The side of a file is a matter of its name's hash (audiocraft_ext/split.py) with one addition for small folders: the
usable file with the lowest number is always valid and that with the highest always train, so two files are enough.
Of a single file, the last ``--valid-share`` is held out.
"""

from __future__ import annotations

import argparse
import math
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from audiocraft_ext import audio
from audiocraft_ext.errors import Parser, UserError, run_cli
from audiocraft_ext.split import TRAIN, VALID, number_of, split_of
from audiocraft_ext.store import PREPARING, RECORD, StoreWriter, TokenStore
from data_prep import manifest, sources
from data_prep.sources import Source

if TYPE_CHECKING:
    from audiocraft_ext.codecs.codec import Codec

BAR = "{desc}: {percentage:3.0f}%|{bar}| {n:.1f}/{total:.1f} min of audio [{elapsed}<{remaining}]"


class Preparation:
    """One run: reads, encodes and adds sources, and keeps count.

    Attributes:
        added: how many sources were added.
        skipped: why each file that was passed over was, by name.
    """

    def __init__(self, codec: Codec, settings: dict, skipped: dict[str, str]):
        self.codec, self.settings, self.skipped, self.added = codec, settings, skipped, 0
        self._ready: dict[str, audio.Sound] = {}  # read, not yet encoded
        self._bar: tqdm | None = None
        self._minutes: dict[str, float] = {}

    def usable(self, source: Source) -> bool:
        """Whether a file can be read and is long enough; it is then kept until it is added."""
        if source.name in self.skipped:
            return False
        if source.name in self._ready:
            return True
        try:
            sound = audio.load(source.path, self.codec.sample_rate)
        except audio.BrokenAudio as error:
            return self._skip(source, str(error).removeprefix(f"{source.path}: "))
        except OSError as error:
            return self._skip(source, error.strerror or str(error))
        if sound.seconds < self.settings["min_seconds"]:
            return self._skip(source, f"too short, {sound.seconds:.2f} of {self.settings['min_seconds']:g} seconds")
        self._ready[source.name] = sound
        return True

    def _skip(self, source: Source, reason: str) -> bool:
        self.skipped[source.name] = reason
        if self._bar is not None:
            self._bar.total -= self._minutes[source.name]
            self._bar.refresh()
        return False

    def add(self, writer: StoreWriter, source: Source, split: str, held_out: float = 0.0) -> None:
        """Encode a usable source and add it; ``held_out`` is the share at its end that goes to valid."""
        sound = self._ready.pop(source.name)
        codes = self.codec.encode(sound.wav, progress=lambda seconds: self._bar.update(seconds / 60))
        frames = codes.shape[1]
        about = {"file_sha256": source.sha256, "file_rate": sound.rate, "seconds": sound.seconds,
                 "amplitude": sound.amplitude}
        writer.add(source.name, split, codes, max(1, round(self.settings["segment"] * self.codec.spec.frame_rate)),
                   about, valid_frames=min(frames - 1, max(1, round(frames * held_out))) if held_out else 0)
        self.added += 1

    def add_all(self, writer: StoreWriter, todo: list[Source]) -> None:
        """Add whatever is usable of ``todo``."""
        self._minutes = {source.name: audio.duration(source.path) / 60 for source in todo}
        total = sum(m for name, m in self._minutes.items() if name not in self.skipped)
        with tqdm(total=total, desc="encoding", bar_format=BAR, disable=None, dynamic_ncols=True) as self._bar:
            if self.settings["valid_share"] > 0:
                self._fill_both_sides(writer, sorted(todo, key=lambda source: number_of(source.name)))
            for source in todo:
                if not writer.done(source.name) and self.usable(source):
                    self.add(writer, source, split_of(source.name, self.settings["valid_share"]))
        self._bar = None

    def _fill_both_sides(self, writer: StoreWriter, ordered: list[Source]) -> None:
        """See that train and valid have a source each, if there are two; ``ordered`` starts with the lowest number."""
        low = high = None
        if VALID not in writer.splits:
            low = next((source for source in ordered if self.usable(source)), None)
        if TRAIN not in writer.splits:
            high = next((source for source in reversed(ordered) if source is not low and self.usable(source)), None)
        if low and not high and not writer.sources:
            self.add(writer, low, TRAIN, held_out=self.settings["valid_share"])
            tqdm.write(f"a single file: the last {self.settings['valid_share']:.0%} of it is held out as valid",
                       file=sys.stderr)
            return
        for source, split in ((low, VALID), (high, TRAIN)):
            if source:
                self.add(writer, source, split)


def prepare(src: Path, found: list[Source], store: Path, codec: Codec, settings: dict, skipped: dict[str, str],
            command: str) -> tuple[TokenStore, int]:
    """Bring ``store`` up to date with the files that were ``found`` below ``src``.

    Args:
        settings: ``segment`` (seconds a manifest row), ``valid_share``, ``min_seconds``.
        skipped: takes up what is passed over, with the reason.
        command: what goes on with an interrupted run.

    Returns:
        The store, and how many sources were added.

    Raises:
        UserError: nothing usable; a store of another codec or other settings; no room on the disk.
    """
    run = Preparation(codec, settings, skipped)
    nothing = UserError(f"{src}: none of its {len(found) + len(skipped)} audio files can be used")
    if not any((store / name).is_file() for name in (RECORD, PREPARING)):  # then leave no folder behind
        todo = sources.select(found, {}, skipped)
        if not any(run.usable(source) for source in sorted(todo, key=lambda source: number_of(source.name))):
            raise nothing
    try:
        with StoreWriter(store, codec.spec, settings, command) as writer:
            done = {name: row["file_sha256"] for name, row in writer.sources.items()}
            run.add_all(writer, sources.select(found, done, skipped))
            if not writer.sources:
                raise nothing
            writer.finish()
        finished = TokenStore(store)
        manifest.write(store, finished.rows, {source.name: source.path for source in found}, codec.spec.frame_rate)
    except OSError as error:
        raise UserError(f"{store}: cannot be written ({error.strerror or error}); what is in it is whole, go on with: "
                        f"{command}") from None
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"what is in {store} is whole, go on with: {command}") from None
    return finished, run.added


def report(store: TokenStore, added: int) -> None:
    """Say what there is now."""
    def count(split: str) -> str:
        tracks = store.tracks(split)
        return f"{len(tracks)} {split} ({sum(t.frames for t in tracks) / store.spec.frame_rate / 60:.1f} min)"

    print(f"{added} sources added" if added else "nothing new, nothing changed")
    print(f"{store.path}: {count(TRAIN)}, {count(VALID)}, codec {store.spec.codec}, hash {store.hash[:16]}")


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = Parser(prog="python -m data_prep.audio",
                                     description="Encode a folder of sound into a token store.")
    parser.add_argument("src", type=Path, help="folder of audio, searched recursively")
    parser.add_argument("store", type=Path, help="folder of the token store; made, continued or added to")
    parser.add_argument("--codec", default="microcodec", help="microcodec (default), encodec_32khz, or a folder")
    parser.add_argument("--codec-path", type=Path, help="where the codec's files lie, if not in their usual place")
    parser.add_argument("--segment", type=float, default=30.0, help="seconds a manifest row (default: 30)")
    parser.add_argument("--valid-share", type=float, default=0.1, help="share of the files held out (default: 0.1)")
    parser.add_argument("--min-seconds", type=float, default=1.0, help="shorter files are skipped (default: 1)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: one a core)")
    parser.add_argument("--device", default="cpu", help="where the codec runs (default: cpu)")
    args = parser.parse_args(argv)
    if not 0 <= args.valid_share < 1:
        raise UserError(f"--valid-share: expected a share from 0 to below 1, got {args.valid_share:g}")
    if not 0 < args.segment < math.inf or not 0 <= args.min_seconds < math.inf:
        raise UserError(f"expected --segment above 0 and --min-seconds of 0 or more, "
                        f"got {args.segment:g} and {args.min_seconds:g}")
    if args.threads is not None and args.threads < 1:
        raise UserError(f"--threads: expected 1 or more, got {args.threads}")
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    command = "python -m data_prep.audio " + shlex.join(sys.argv[1:] if argv is None else argv)
    skipped: dict[str, str] = {}
    found = sources.find(args.src, skipped)

    import torch  # after the checks that need no second of waiting

    from audiocraft_ext.codecs import get_codec
    from audiocraft_ext.machine import physical_cores

    torch.set_num_threads(args.threads or physical_cores())
    torch.backends.cudnn.allow_tf32 = False  # its rounding picks other codes
    codec = get_codec(args.codec, args.codec_path)
    try:
        codec.to(args.device)
    except (RuntimeError, AssertionError) as error:  # torch's ways to say that there is no such device
        raise UserError(f"--device {args.device}: {str(error).splitlines()[0]}") from None
    settings = {"segment": args.segment, "valid_share": args.valid_share, "min_seconds": args.min_seconds}
    try:
        store, added = prepare(args.src, found, args.store, codec, settings, skipped, command)
    finally:
        for name, reason in sorted(skipped.items()):
            print(f"skipped {name}: {reason}", file=sys.stderr)
    report(store, added)


if __name__ == "__main__":
    run_cli(main)
