"""A folder of MIDI to an instrument in one command: what the demos of the kinds whose codes are music on paper have in
common.

Four stages, each the command that a person would type: prepare, train, export, sample; one that is done is skipped
(:mod:`audiocraft_ext.runs.pipeline`). Ends with the numbers that say whether it worked, and with what was made.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from audiocraft_ext.core.errors import Parser, UserError
from audiocraft_ext.core.spec import Spec
from audiocraft_ext.core.split import VALID
from audiocraft_ext.engine.bundle import Bundle
from audiocraft_ext.runs.pipeline import ROOT, DemoState, add_options, begin, exported, prepared, settle, shown, trained
from audiocraft_ext.store import baseline
from audiocraft_ext.store.reader import TokenStore

SEED = 1


@dataclass(frozen=True)
class Demo:
    """One kind's demo.

    Attributes:
        kind: its folder; ``about``, a line for ``--help``.
        files: the folder that it begins with unless it is told another; ``name``, what that is called (None: as the
            folder is).
        recipe: of training, overrides.
        things: what is made, and how many, ``n``.
        prepare, sample: words for ``data_prep.midi`` and for ``infer.py``, of the options.
        read: a result's JSON, as :func:`audiocraft_ext.core.sidecar.read` gives it.
        unit: what a loss is told in; ``count``, how many of them codes ``[K, T]`` have; ``unseen``, what it is the loss
            of.
        shows: names of lines at the end, with the ends of the files that they list.
        draw: a picture of the store, of the MIDI files that were made and of the bundle, into a folder.
        options: adds some, ``--midi`` and those of every demo aside.
        more: words for ``infer.py``, a suggestion.
    """

    kind: str
    about: str
    files: Path
    recipe: list[str]
    things: str
    n: int
    prepare: Callable[[argparse.Namespace], list[str]]
    sample: Callable[[argparse.Namespace], list[str]]
    read: Callable
    unit: str
    count: Callable[[np.ndarray, Spec], int]
    unseen: str
    shows: Mapping[str, str]
    more: list[str]
    draw: Callable[[TokenStore, list[Path], Path, Path], list[Path]] | None = None
    name: str | None = None
    options: Callable[[argparse.ArgumentParser], object] = field(default=lambda parser: None)

    def parse(self, argv: Sequence[str] | None = None) -> argparse.Namespace:
        """Raises a :class:`UserError` for options that cannot be."""
        parser = Parser(prog=f"python -m audiocraft_ext.{self.kind}.demo", description=self.about)
        parser.add_argument("--midi", type=Path, default=self.files, help="folder of MIDI files (default: those that "
                            "ship)")
        self.options(parser)
        add_options(parser, self.things, self.n, self.recipe)
        args = parser.parse_intermixed_args(argv)
        if args.midi == self.files:
            args.name = args.name or self.name
        settle(args, "midi", self.things)
        return args

    def main(self, argv: Sequence[str] | None = None) -> int:
        """All stages; the exit code."""
        args = self.parse(argv)
        (state, path), out, bundle = begin(args), args.out, args.out / args.name
        files = sorted(p for p in args.midi.rglob("*") if p.is_file())
        command = ["-m", "data_prep.midi", str(args.midi), str(path), *self.prepare(args)]
        store = prepared(state, args.midi, path, command, files)
        run, history = trained(state, store, self.recipe, args.overrides)
        exported(state, run, bundle, ["--half"], store, history)
        command = ["infer.py", str(bundle), "-n", str(args.n), "-o", str(out), "--seed", str(SEED),
                   *self.sample(args)]
        state.run("sample", command, Bundle(bundle).hash, lambda: len(self.sampled(out, bundle, args.n)) == args.n)

        made = self.sampled(out, bundle, args.n)
        lists = {name: [path for files in made for path in files if path.name.endswith(end)]
                 for name, end in self.shows.items()}
        if self.draw is not None:
            midi = [path for files in made for path in files[:1]]
            lists["look at"] = state.pictures("sample", lambda: self.draw(store, midi, bundle, out))
        print(f"\n{self.numbers(state, history, store)}\n")
        for name, paths in lists.items():
            print(f"{name:<12}" + f"\n{'':<12}".join(map(shown, paths)))
        print(f"{'more':<12}" + shlex.join(["python", shown(ROOT / "infer.py"), shown(bundle), *self.more]))
        return 0

    def sampled(self, out: Path, bundle: Path, n: int) -> list[list[Path]]:
        """The files of those of the bundle's first ``n`` results that are there: by their JSONs, whatever else lies in
        ``out``."""
        if not (bundle / "model.json").is_file():
            return []
        found: dict[int, list[Path]] = {}
        wanted = {"bundle_hash": Bundle(bundle).hash[:16], "seed": SEED}
        for path in sorted(out.glob("*.json")):
            try:
                known = self.read(path)
            except UserError:
                continue
            files = [out / name for name in known.files]
            if wanted.items() <= known.recipe.items() and all(file.is_file() for file in files):
                found.setdefault(known.index, files)
        return [found[index] for index in range(n) if index in found]

    def numbers(self, state: DemoState, history: list[dict], store: TokenStore) -> str:
        """The table at the end."""
        each = nats_each(store, self.count)
        known = baseline.summary(store)["unigram_loss"]
        first, last = history[0]["train"]["ce_first"], min(epoch["valid"]["ce"] for epoch in history)
        rows = [(stage, f"{entry['seconds']:.1f} s") for stage, entry in state.stages.items()]
        rows += [
            ("all stages", f"{sum(entry['seconds'] for entry in state.stages.values()):.1f} s"),
            ("loss before training", f"{first * each:.2f} nats a {self.unit}"),
            ("validation loss, best", f"{last * each:.2f}  on {self.unseen} it never saw"),
            ("unigram loss on the same", f"{known * each:.2f}  knowing only how often each code occurs"),
            ("did it learn?", "yes: the validation loss is under both" if last < min(first, known)
             else "no: the validation loss is not under the unigram loss"),
        ]
        return "\n".join(f"  {name:<32}{value}" for name, value in rows)


def nats_each(store: TokenStore, count: Callable[[np.ndarray, Spec], int]) -> float:
    """What a nat a code, the mean over streams and frames of the valid split, is in nats of what ``count`` counts."""
    spec = store.spec.clip
    codes = np.concatenate([store.read(track.start, track.frames)[: spec.n_q] for track in store.tracks(VALID)], axis=1)
    return spec.n_q * codes.shape[1] / max(1, count(codes, spec))
