"""How dense, swung and syncopated the rows of a drum store are: ``python -m benchmarks.drums.levels STORE``.

The words of prompts go by these (audiocraft_ext/drums/describe.py).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from audiocraft_ext.core.errors import Parser, UserError, run_cli
from audiocraft_ext.core.split import TRAIN
from audiocraft_ext.drums import describe
from audiocraft_ext.drums.codec import codec_of
from audiocraft_ext.store.reader import TokenStore
from benchmarks.common.machine import describe as machine
from benchmarks.common.machine import finish, row

MEASURES = {"density": describe.density, "intensity": describe.intensity, "swing": describe.swing,
            "syncopation": describe.syncopation}
PERCENTILES = (5, 20, 40, 60, 80, 95)


def main() -> None:
    parser = Parser(prog="python -m benchmarks.drums.levels", description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("--bars", type=int, default=4, help="only rows of so many (default: 4)")
    parser.add_argument("--save", type=Path)
    args = parser.parse_args()
    store = TokenStore(args.store)
    codec = codec_of(store.settings["codec"])
    rows = [one for one in store.rows if one["split"] == TRAIN and one["bars"] == args.bars]
    if not rows:
        raise UserError(f"{args.store}: no row of {args.bars} bars in its {TRAIN} split")
    patterns = [codec.pattern(store.read(one["start"], one["frames"]), describe.meter_of(one["time_signature"]))
                for one in rows]
    results: dict = {"rows": len(rows)}
    print(row(f"{len(rows)} rows, percentiles", map(str, PERCENTILES), 28))
    for name, measure in MEASURES.items():
        values = [value for value in map(measure, patterns) if value is not None]
        results[name] = np.percentile(values, PERCENTILES).round(4).tolist()
        print(row(f"{name} ({len(values)})", (f"{value:.3f}" for value in results[name]), 28))
    finish("drums_levels", machine("numpy"), results, args.save)


if __name__ == "__main__":
    run_cli(main)
