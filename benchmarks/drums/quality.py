"""How good a model of drums is: ``python -m benchmarks.drums.quality BUNDLE STORE --picture grooves.png``.

1. What the rows of the store's valid split cost, in nats a hit and bits a bar: under the model, unconditional and
   conditional on each row's full prompt; and under baselines from the train split (benchmarks/drums/baselines.py,
   nearest.py). Each row is a clip of its own.
2. How the model's clips are distributed, compared with the valid split (stats.py). The scale of a distance is given by
   the train split's own, and by that of clips drawn from the table of positions. Clips are asked for with "4/4, 4
   bars" and nothing else, and once with the words of validation rows.
3. How near they are to the training material, compared with the valid split (memory.py).
4. Whether words steer them (steer.py).

The store is to be prepared as that of the training was, with the same splits. For the Groove MIDI Dataset's own split::

    python -m data_prep.midi groove stores/official --csv split.csv --duplicates off   # columns file, split
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from audiocraft_ext.core.errors import Parser, UserError, run_cli
from audiocraft_ext.core.split import TRAIN, VALID
from audiocraft_ext.engine.engine import Engine
from audiocraft_ext.store.reader import TokenStore
from benchmarks.common.machine import describe, finish, row
from benchmarks.drums import memory as drum_memory
from benchmarks.drums import stats as drum_stats
from benchmarks.drums import steer as drum_steer
from benchmarks.drums.baselines import Positions, Unigram, measure
from benchmarks.drums.clips import Clip, Reader, bars_of, config_of, plain
from benchmarks.drums.model import Model
from benchmarks.drums.nearest import Nearest

BARS, METER = 4, "4/4"
BARE = {"meter": METER, "bars": str(BARS)}
FREE, LIKE, TABLE = "samples", "samples, told as rows", "position table"
BARE_LOSS, FULL_LOSS = "model, told nothing", "model, told all"
# Keys of the JSON that the tables print in other words.
SHOWN = {LIKE: "samples, rows' prompts", BARE_LOSS: "model, unconditional", FULL_LOSS: "model, conditional"}
WIDTH = 30
MOST_WORDS = 20  # words of a field that is asked for for information, the most frequent


def losses(model: Model, train: list[Clip], valid: list[Clip], say: Callable = print) -> tuple[dict, Positions]:
    """Part 1; also the table of positions."""
    grid = model.reader.grid
    sizes = (grid.velocities, grid.offsets)
    table = Positions(train, sizes)
    fit = model.fit(valid)
    results: dict[str, dict] = {"rows": {"valid": len(fit), "hits": sum(clip.hits for clip in fit),
                                         "bars": sum(clip.bars for clip in fit), "too_long": len(valid) - len(fit)}}
    for name, baseline in (("unigram", Unigram(train, sizes)), (TABLE, table),
                           ("copy of the nearest bar", Nearest(train, table, sizes))):
        results[name] = measure(baseline, fit)
    results[BARE_LOSS], bare = model.losses(fit, prompted=False)
    if model.prompts.fields:
        results[FULL_LOSS], full = model.losses(fit, prompted=True)
        results["rows"]["helped_by_words"] = float(np.mean(np.array(full) < bare))
    say(f"{len(fit)} rows of the valid split, {results['rows']['hits']:,} hits in {results['rows']['bars']:,} bars")
    say(row("loss", ["nats/hit", "where", "loud", "when", "bits/bar"], WIDTH))
    for name, cost in list(results.items())[1:]:
        values = [cost["nats_a_hit"], *(cost.get(part, float("nan")) for part in ("hit", "loud", "when")),
                  cost["bits_a_bar"]]
        texts = [f"{value:.{1 if i == 4 else 3}f}".replace("nan", "-") for i, value in enumerate(values)]
        say(row(SHOWN.get(name, name), texts, WIDTH))
    if not model.reader.exact:
        say("the model's codes are no grid: its hits have more velocities and offsets than the baselines', and rolls, "
            "so these numbers do not compare")
    return results, table


def statistics(reader: Reader, sets: dict[str, list[Clip]], say: Callable = print) -> tuple[dict, dict]:
    """Part 2, of sets of which the first is what the others are compared with; also the grooves."""
    grooves = {name: drum_stats.of(reader, clips) for name, clips in sets.items()}
    first, *others = grooves
    means = {name: groove.means() for name, groove in grooves.items()}
    far = {name: drum_stats.distances(grooves[name], grooves[first]) for name in others}
    say("\ngrooves: " + ", ".join(f"({i}) {len(clips)} {SHOWN.get(name, name)}"
                                   for i, (name, clips) in enumerate(sets.items())))
    say(row("", ["means"] + [""] * len(others) + ["distances", f" from {first}"], WIDTH))
    say(row("", [f"({i})" for i in range(len(grooves))] + [f"({i})" for i in range(1, len(grooves))], WIDTH))
    for name, unit in drum_stats.UNITS.items():
        values = [*(f"{means[of].get(name, np.nan):.2f}" for of in grooves), *(f"{far[of][name]:.3f}" for of in others)]
        say(row(name, [text.replace("nan", "-") for text in values], WIDTH) + f"   {unit}")
    classes = {one.name: {of: float(groove.hits[:, c].mean()) for of, groove in grooves.items()}
               for c, one in enumerate(reader.grid.drums.classes)}
    for name, mean in classes.items():
        apart = [drum_stats.w1(grooves[of].hits[:, list(classes).index(name)],
                               grooves[first].hits[:, list(classes).index(name)]) for of in others]
        say(row(f"  {name} a bar", [f"{value:.2f}" for value in mean.values()] + [f"{d:.3f}" for d in apart], WIDTH))
    return {"clips": {name: len(clips) for name, clips in sets.items()}, "means": means, "distances": far,
            "hits_a_bar": classes}, grooves


def memory(train: list[Clip], sets: dict[str, list[Clip]], steps: int, say: Callable = print) -> dict:
    """Part 3."""
    bars, results = bars_of(train)[steps], {}
    for length, name in ((BARS, f"{BARS} bars"), (1, "1 bar")):
        known = drum_memory.TrainStretches(bars, length)
        results[name] = {one: drum_memory.measure(known, drum_memory.in_bars(plain(clips, BARS, steps), steps))
                         for one, clips in sets.items()}
    say("\nmemorised: hits to change until a clip is a stretch of the train split, in % of its own")
    for line in drum_memory.report(results, lambda name, values: row(_shown(name), values, WIDTH)):
        say(line)
    return results


def _shown(line: str) -> str:
    """A line's name, indented as it was."""
    name = line.strip()
    return line.replace(name, SHOWN.get(name, name)) if name else line


def steering(model: Model, train: list[Clip], clips: int, seed: int, how: dict, say: Callable = print) -> dict:
    """Part 4: ``clips`` for each word of density, intensity and swing; a quarter of them for the informative fields."""
    words = model.prompts.words
    fields = {name: words[name] for name in drum_steer.STEERED if name in words}
    others = {name: _frequent(train, name, words[name]) for name in drum_steer.INFORMATIVE if name in words}

    def make(count: int) -> Callable[[dict[str, str]], list[Clip]]:
        return lambda asked: model.play(count, asked, seed, BARS, **how)

    results = drum_steer.steer(model.reader, make(clips), fields, train)
    results |= drum_steer.steer(model.reader, make(max(1, clips // 4)), others, train)
    settings = ", ".join(f"{name} {value:g}" for name, value in how.items()) or "the drummer's defaults"
    say(f"\nprompts, {settings}: medians of {clips} samples a word ({max(1, clips // 4)} of "
        f"{', '.join(others)}), and next to them those of the training rows with that word")
    for line in drum_steer.report(results):
        say(line)
    return results


def _frequent(train: list[Clip], field: str, words: tuple[str, ...]) -> list[str]:
    """The most frequent words of the rows' prompts, in the order of the words."""
    met = [clip.about.get("prompt", {}).get(field) for clip in train]
    most = sorted((word for word in words if word in met), key=lambda word: -met.count(word))[:MOST_WORDS]
    return [word for word in words if word in most]


def evaluate(model: Model, store: TokenStore, samples: int, setting: int, seed: int = 0, picture: Path | None = None,
             how: dict | None = None, say: Callable = print) -> dict:
    """All of it; see the module.

    Args:
        samples: clips for parts 2 and 3; ``setting``, for a word of part 4, played ``how``.

    Raises:
        UserError: the store is of another codec.
    """
    reader = Reader(config_of(store))
    if reader.codec.hash != model.reader.codec.hash:
        raise UserError(f"{store.path}: its codes are not those of {model.engine.bundle.path}; prepare it with the "
                        "map and the grid of that bundle")
    train, valid = (reader.of_store(store, split) for split in (TRAIN, VALID))
    results: dict = {"bundle": model.engine.bundle.name, "store": store.hash[:16], "seed": seed, "how": how or {},
                     "sampling": model.sampling.to_dict()}
    results["loss"], table = losses(model, train, valid, say)
    if not reader.exact:
        return results
    steps, rng = reader.grid.steps, np.random.default_rng(seed)
    splits = {split: [clip for clip in clips if (clip.bars, clip.bar_steps) == (BARS, steps)]
             for split, clips in ((VALID, valid), (TRAIN, train))}
    if not all(splits.values()):
        raise UserError(f"{store.path}: expected rows of {BARS} bars of {METER} in both splits")
    start = time.perf_counter()
    free = model.make(samples, BARE, seed, BARS)
    results["seconds_a_clip"] = (time.perf_counter() - start) / samples
    chosen = rng.permutation(np.resize(np.arange(len(splits[VALID])), samples))
    like = model.make(samples, [splits[VALID][i].about.get("prompt", {}) | BARE for i in chosen], seed, BARS)
    drawn = [reader.clip(codes) for codes in table.sample(samples, BARS, steps, rng, reader.grid.on_step)]
    sets = {VALID: splits[VALID], FREE: free, LIKE: like, TRAIN: splits[TRAIN], TABLE: drawn}
    results["statistics"], grooves = statistics(reader, sets, say)
    results["memory"] = memory(train, {name: sets[name] for name in (VALID, FREE, LIKE, TABLE)}, steps, say)
    results["prompts"] = steering(model, train, setting, seed, how or {}, say) if model.prompts.fields else {}
    if picture is not None:
        from benchmarks.drums import picture as drum_picture

        name = model.engine.bundle.name
        drum_picture.draw(picture, {"validation": grooves[VALID], f"{samples} samples": grooves[FREE]},
                          [one.name for one in reader.grid.drums.classes], reader.grid.offsets,
                          f"Grooves of the bundle {name}, next to performances that it was not trained on",
                          f"python -m benchmarks.drums.quality; {len(splits[VALID])} validation clips of {BARS} bars "
                          f"of {METER}; samples were asked for {METER} and {BARS} bars alone; seed {seed}")
        say(f"\n{picture}")
    return results


def whole(tree):
    """Results as JSON has them: to five digits, and nothing for what is no number."""
    if isinstance(tree, dict):
        return {key: whole(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [whole(value) for value in tree]
    if isinstance(tree, float):
        return float(f"{tree:.5g}") if np.isfinite(tree) else None
    return tree


def main(argv: list[str] | None = None) -> None:
    parser = Parser(prog="python -m benchmarks.drums.quality", description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path, help="of drums, a folder")
    parser.add_argument("store", type=Path, help="the token store that it was trained on, with a valid split")
    parser.add_argument("--samples", type=int, default=500, help="clips to compare (default: 500)")
    parser.add_argument("--setting", type=int, default=200, help="clips for each word (default: 200)")
    parser.add_argument("--temperature", type=float, help="of the samples (default: the bundle's own)")
    parser.add_argument("--guidance", type=float, help="of part 4 (default: the drummer's)")
    parser.add_argument("--takes", type=int, help="of part 4 (default: the drummer's)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="default: one per core")
    parser.add_argument("--picture", type=Path, metavar="PNG")
    parser.add_argument("--quick", action="store_true", help="50 samples, 10 a setting")
    parser.add_argument("--save", type=Path, help="JSON file to put the results into")
    args = parser.parse_args(argv)
    samples, setting = (50, 10) if args.quick else (args.samples, args.setting)
    if samples < 1 or setting < 1:
        raise UserError(f"--samples and --setting: expected 1 or more, got {samples} and {setting}")
    model, store = Model(Engine(args.bundle, args.threads, max_batch=50), args.temperature), TokenStore(args.store)
    how = {name: value for name in ("guidance", "takes") if (value := getattr(args, name)) is not None}
    results = evaluate(model, store, samples, setting, args.seed, args.picture, how)
    results = whole(results)
    finish("drums_quality", describe("onnxruntime", "numpy", "scipy", threads=args.threads), results, args.save)


if __name__ == "__main__":
    run_cli(main)
