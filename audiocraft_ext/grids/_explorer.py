"""What a grid's page needs: the decorator :func:`grid`, and stores from what ships.

    @grid
    def explorer(launcher):
        launcher.bind_(solver="musicgen/nano_32khz", dset="audio/jungle")
        for lr in (1e-3, 2e-3):
            launcher({"optim.lr": lr})
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from dora import Explorer, Launcher, git_save

from audiocraft_ext.core.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
BREAKS = ROOT / "data_prep" / "breaks"


def grid(explore: Callable[[Launcher], None]) -> Explorer:
    """Makes an explorer of a function that calls the launcher once a run."""
    return Explorer(explore)


def shipped_breaks(name: str, *options: str) -> None:
    """Makes the store ``name`` of the breaks that come with the repository, where it is missing (``options`` of
    data_prep.audio; seconds with the debug codec)."""
    store = Path(git_save.to_absolute_path(os.environ.get("MICRO_STORES") or "stores")) / name
    if not (store / "store.json").is_file():
        print(f"Preparing {store} from the breaks that ship", file=sys.stderr)
        made = subprocess.run([sys.executable, "-m", "data_prep.audio", str(BREAKS), str(store), *options], cwd=ROOT,
                              capture_output=True, text=True)
        if made.returncode:
            raise UserError(f"{store} could not be prepared: " + (made.stderr or made.stdout or "no reason given"))
