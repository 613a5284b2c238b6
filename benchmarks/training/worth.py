"""What blocks and regularisers are worth to a recipe: held-out loss after equal seconds of the processor.

    python -m benchmarks.training.worth STORE ROWS.json --recipe solver=drums/small [--table regularisers]

Any kind of store. A row is changes to the recipe (and what :class:`~benchmarks.training.equal.Extra` has besides),
trained with one thread once a seed; a row that is called "A + B" is both. Behind each is what it gains over "base" with
the same seed, the mean and the standard deviation over the seeds; a gain of more than twice that is marked. Rows that
are done are in the JSON: the same command resumes, and prints what is there.
"""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from audiocraft_ext.core.errors import Parser, UserError, run_cli
from audiocraft_ext.core.files import write
from audiocraft_ext.store.reader import TokenStore
from benchmarks.common.machine import describe, finish, row
from benchmarks.training.equal import Extra, Ground

BASE = "base"
ROPE = "transformer_lm.positional_embedding=rope"


@dataclass(frozen=True)
class Row:
    """Changes to the recipe, and what no recipe says."""

    overrides: tuple[str, ...] = ()
    extra: Extra = Extra()


def _decay(weight: float) -> Row:
    return Row((f"optim.adam.weight_decay={weight}", f"optim.muon.weight_decay={weight}"))


ROWS: dict[str, Row] = {
    BASE: Row(),
    "rope": Row((ROPE,)),
    "no positions": Row(("transformer_lm.positional_embedding=none",)),
    "rms": Row(("transformer_lm.norm=rms",)),
    "swiglu": Row(("transformer_lm.ffn=swiglu",)),
    "qk_norm": Row(("transformer_lm.qk_norm=true",)),
    "gqa": Row(("transformer_lm.attention=gqa", "transformer_lm.kv_heads=1")),
    "mla": Row((ROPE, "transformer_lm.attention=mla")),
    "moe": Row(("transformer_lm.ffn=moe",)),
    "window": Row((ROPE, "transformer_lm.window=WINDOW", "transformer_lm.sinks=SINKS")),
    "muon": Row(("optim.optimizer=muon",)),
    "adamw": Row(("optim.optimizer=adamw",)),
    "mask 0.1": Row(extra=Extra(mask=0.1)),
    "mask 0.3": Row(extra=Extra(mask=0.3)),
    "decay 0.1": _decay(0.1),
    "decay 1": _decay(1.0),
    "decay 3": _decay(3.0),
    "dropout 0": Row(("transformer_lm.dropout=0",)),
    "dropout 0.1": Row(("transformer_lm.dropout=0.1",)),
    "dropout 0.3": Row(("transformer_lm.dropout=0.3",)),
    "first x4": Row(extra=Extra(first=4.0)),
    "last x4": Row(extra=Extra(first=0.25)),
    "constant rate": Row(("schedule.lr_scheduler=null",)),
}
TABLES = {
    "blocks": (BASE, "rope", "rms + swiglu", "qk_norm", "mla", "moe", "window", "gqa", "mask 0.1", "decay 1",
               "decay 3"),
    "regularisers": (BASE, "decay 1", "decay 3", "mask 0.1", "dropout 0.1", "dropout 0.3", "first x4",
                     "decay 3 + dropout 0.1 + mask 0.1", "constant rate"),
}


def row_of(name: str) -> Row:
    """By its name, or by the names of its parts.

    Raises:
        UserError: there is none.
    """
    whole = Row()
    for part in name.split(" + "):
        if part not in ROWS:
            raise UserError(f"no row is called {part!r}; there are {', '.join(ROWS)}, and any of them with ' + ' "
                            "between")
        one, usual = ROWS[part], Extra()
        changed = {key: value for key, value in asdict(one.extra).items() if value != getattr(usual, key)}
        whole = Row((*whole.overrides, *one.overrides), replace(whole.extra, **changed))
    return whole


def ground(store: TokenStore, recipe: list[str], overrides: tuple[str, ...]) -> Ground:
    """Of a row: a window is half a clip of training, and its sinks hold the prompt."""
    if any("WINDOW" in override for override in overrides):
        spec = store.spec
        sinks = 1 + spec.prompt + max(spec.delays) if spec.prompt else 1
        window = Ground(store, recipe).frames // 2
        overrides = tuple(o.replace("WINDOW", str(window)).replace("SINKS", str(sinks)) for o in overrides)
    return Ground(store, [*recipe, *overrides])


def gains(done: dict[str, dict], name: str, key: str = "best") -> list[float]:
    """Of a row over the base with the same seed, nats a code; a seed that only one of them has is left out."""
    pairs = [(done.get(f"{BASE}, {seed}"), done.get(f"{name}, {seed}")) for seed in _seeds(done)]
    return [base[key] - one[key] for base, one in pairs if base and one]


def _seeds(done: dict[str, dict]) -> list[int]:
    return sorted({int(key.rsplit(", ", 1)[1]) for key in done})


def with_spread(values: list[float], sign: str = "") -> str:
    """Mean and standard deviation."""
    if not values:
        return "-"
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):{sign}.3f}{spread}"


def clear(values: list[float]) -> bool:
    """Whether a gain (or a loss) is more than twice its spread."""
    return len(values) > 1 and abs(statistics.mean(values)) > 2 * statistics.stdev(values)


def table(done: dict[str, dict], names: list[str]) -> list[str]:
    """Markdown, a line a row."""
    lines = ["| | best | gain | last | averaged | last five mixed | training | updates |", "| --- " * 8 + "|"]
    for name in names:
        some = [done[key] for seed in _seeds(done) if (key := f"{name}, {seed}") in done]
        if not some:
            continue
        each = {key: [one[key] for one in some if one[key] is not None]
                for key in ("best", "last", "ema", "soup", "train", "updates")}
        gain = gains(done, name) if name != BASE else []
        cells = [name, with_spread(each["best"]), with_spread(gain, "+") + (" *" if clear(gain) else ""),
                 *(with_spread(each[key]).split(" ±")[0] for key in ("last", "ema", "soup", "train")),
                 f"{statistics.mean(each['updates']):.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def main() -> None:
    parser = Parser(prog="python -m benchmarks.training.worth", description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("rows", type=Path, help="JSON of the rows that are done; made, or resumed")
    parser.add_argument("--seconds", type=float, default=30.0,
                        help="of the processor, for each row and seed (default: 30)")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--table", choices=TABLES, default="blocks")
    parser.add_argument("--only", nargs="+", metavar="ROW", help="these rows; ' + ' in a name puts rows together")
    parser.add_argument("--print", action="store_true", help="what is done, and nothing else")
    parser.add_argument("--recipe", nargs="+", required=True, metavar="KEY=VALUE",
                        help="as a run takes it: solver=drums/small optim.lr=1e-3")
    args = parser.parse_args()
    recipe = args.recipe
    names = args.only or list(TABLES[args.table])
    rows = {name: row_of(name) for name in names}
    torch.set_num_threads(1)
    store = TokenStore(args.store)
    how = {"store": store.hash, "recipe": recipe, "seconds": args.seconds}
    there = json.loads(args.rows.read_text("utf-8")) if args.rows.is_file() else {"how": how, "rows": {}}
    if there["how"] != how:
        raise UserError(f"{args.rows}: its rows were trained with {there['how']}, not with {how}; name a new file")
    done = there["rows"]
    left = [(name, seed) for seed in range(args.seeds) for name in names if f"{name}, {seed}" not in done]
    for name, seed in [] if args.print else left:
        here = ground(store, recipe, rows[name].overrides)
        one = here.train(here.held_out(), args.seconds, seed, rows[name].extra).figures()
        done[f"{name}, {seed}"] = one | {"parameters": here.lm.parameter_count()}
        print(row(f"{name}, {seed}", (f"{one['best']:.4f}", f"{one['last']:.4f}", f"{one['train']:.4f}",
                                      str(one["updates"])), 32), flush=True)
        write(args.rows, json.dumps(there))
    known = list(dict.fromkeys([*names, *(key.rsplit(", ", 1)[0] for key in done)]))
    print("\n".join(table(done, known)))
    finish("worth", describe("torch", threads=1), {"how": how, "gains": {name: gains(done, name) for name in known}})


if __name__ == "__main__":
    run_cli(main)
