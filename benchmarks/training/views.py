"""What views are worth: many encodings of the same minutes of sound, learned for equal seconds of the processor.

    python -m data_prep.audio breaks stores/views --cut bars:2 --variants 15 --augment gain=3,polarity,shift=20
    python -m benchmarks.training.views stores/views ROWS.json --minutes 5 30 --views 1 4 16

A row is so many minutes of the train split (its first files by name, so that more minutes hold the fewer) in so many
views: the sound itself and its first variants. Held-out loss is on the valid split, which has no variants. With
``--clips`` the state of the least loss plays, and the last where that is another, judged as a training judges itself
(``generate.judge``). Rows that are done are in the JSON: the same command resumes, and prints what is there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import torch

from audiocraft_ext import kinds
from audiocraft_ext.core.errors import Parser, UserError, run_cli
from audiocraft_ext.core.files import write
from audiocraft_ext.core.split import TRAIN
from audiocraft_ext.engine.sampling import Sampling
from audiocraft_ext.store.reader import TokenStore, Track
from audiocraft_ext.training.judge import sampled
from benchmarks.common.machine import describe, finish, row
from benchmarks.training.equal import LOOKS, Ground, Trained

COLUMNS = ("minutes", "views", "seed")


class Part(TokenStore):
    """A store of which the train split is cut down to the first ``minutes`` in the first ``views``.

    Raises:
        UserError: it has not as many.
    """

    def __init__(self, path: Path, minutes: float, views: int):
        super().__init__(path)
        of = {row["source"]: (row.get("variant") or {}) for row in self.rows}
        self._number = {name: variant.get("number", 0) for name, variant in of.items()}
        files = self._first(minutes * 60 * self.spec.frame_rate, views)
        keep = {name for name, variant in of.items() if self._number[name] < views and variant.get("of", name) in files}
        self._tracks = self._tracks | {TRAIN: [track for track in self._tracks[TRAIN] if track.source in keep]}

    def _first(self, frames: float, views: int) -> set[str]:
        train: list[Track] = self._tracks[TRAIN]
        most = 1 + max(self._number[track.source] for track in train)
        if views > most:
            raise UserError(f"{self.path} has {most} views of a sound, not {views}; prepare one with --variants "
                            f"{views - 1}")
        files, total = set(), 0
        for track in sorted((t for t in train if not self._number[t.source]), key=lambda t: t.source):
            if total >= frames * 0.99:
                return files
            files.add(track.source)
            total += track.frames
        if total < frames * 0.97:
            raise UserError(f"{self.path} has {total / frames:.0%} of the minutes that are asked for")
        return files


def heard(ground: Ground, trained: Trained, clips: int, state: str) -> dict[str, float]:
    """KAD and pulse of clips of ten seconds, of the best state or the last."""
    store, model, lm = ground.store, trained.model.eval(), ground.cfg.generate.lm
    if state == "best":
        model.load_state_dict(trained.best)
    kind = kinds.kind_of(store.spec)
    with torch.no_grad():
        codes = sampled(model, store.spec, kind.codec_config(store), clips, store.spec.frames(10.0), 1,
                        Sampling(lm.temp, lm.top_k, lm.top_p))
    return _judge(store)(codes)


_JUDGES: dict[str, object] = {}


def _judge(store: TokenStore):
    """One for all parts of a store: they have the same valid split."""
    key = str(store.path)
    if key not in _JUDGES:
        _JUDGES[key] = kinds.kind_of(store.spec).judge(store)
    return _JUDGES[key]


def table(done: Iterable[dict]) -> list[str]:
    """Markdown, a line a row."""
    head = ("minutes", "views", "training", "held out, least", "at", "last", "KAD, pulse", "of the last", "updates")
    lines = [f"| {' | '.join(head)} |", "| --- " * len(head) + "|"]
    for one in sorted(done, key=lambda one: tuple(one[key] for key in COLUMNS)):
        share = LOOKS[one["losses"].index(min(one["losses"]))]
        clips = [f"{one[state]['kad']:.1f}, {one[state]['pulse']:.2f}" if state in one else ""
                 for state in ("heard", "later")]
        cells = (f"{one['minutes']:g}", one["views"], f"{one['train']:.3f}", f"{one['best']:.3f}", f"{share:.0%}",
                 f"{one['last']:.3f}", *clips, one["updates"])
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


def main() -> None:
    parser = Parser(prog="python -m benchmarks.training.views", description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path, help="prepared with --variants")
    parser.add_argument("rows", type=Path, help="JSON of the rows that are done; made, or resumed")
    parser.add_argument("--minutes", nargs="+", type=float, default=[5.0, 30.0])
    parser.add_argument("--views", nargs="+", type=int, default=[1, 4, 16])
    parser.add_argument("--seconds", type=float, default=120.0, help="of the processor, for each (default: 120)")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--clips", type=int, default=0, help="to sample of each; 0 is none")
    parser.add_argument("--recipe", nargs="+", required=True, metavar="KEY=VALUE", help="as a run takes it")
    args = parser.parse_args()
    torch.set_num_threads(1)
    how = {"recipe": args.recipe, "seconds": args.seconds}
    there = json.loads(args.rows.read_text("utf-8")) if args.rows.is_file() else {"how": how, "rows": {}}
    if there["how"] != how:
        raise UserError(f"{args.rows}: its rows were trained with {there['how']}, not with {how}; name a new file")
    for seed, minutes, views in [(s, m, v) for s in range(args.seeds) for m in args.minutes for v in args.views]:
        key = f"{minutes:g} minutes, {views} views, {seed}"
        if key in there["rows"]:
            continue
        ground = Ground(Part(args.store, minutes, views), args.recipe)
        trained = ground.train(ground.held_out(), args.seconds, seed)
        one = trained.figures() | dict(zip(COLUMNS, (minutes, views, seed)))
        if args.clips:
            if min(trained.losses) < trained.losses[-1]:
                one["later"] = heard(ground, trained, args.clips, "last")
            one["heard"] = heard(ground, trained, args.clips, "best")
        there["rows"][key] = one
        print(row(key, (f"{one['train']:.4f}", f"{one['best']:.4f}", f"{one['last']:.4f}", str(one["updates"])), 32),
              flush=True)
        write(args.rows, json.dumps(there))
    print("\n".join(table(there["rows"].values())))
    finish("views", describe("torch", threads=1), how)


if __name__ == "__main__":
    run_cli(main)
