"""What all tests share: one thread a process, marks that follow from fixtures, and configs that are composed once.

Tests are small, and threads that wait for each other on a busy machine are slow.
"""

from __future__ import annotations

import atexit
import os
import pickle
import shutil
import signal
import tempfile
from collections.abc import Iterator

# Started in the background of a script, this process and all it starts would pass over Ctrl-C, which tests press.
signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["MICRO_CACHE"] = tempfile.mkdtemp(prefix="micro-musicgen-")  # nothing of the user's is read or written
atexit.register(shutil.rmtree, os.environ["MICRO_CACHE"], ignore_errors=True)

import pytest  # noqa: E402
import torch  # noqa: E402  reads the variable when it is imported

from tests.helpers.slurm import slurm  # noqa: E402, F401  a fixture

torch.set_num_threads(1)

MARKS = {"slurm": "cluster", "browser": "browser"}  # fixture -> the mark of each test that asks for it


@pytest.hookimpl(tryfirst=True)  # before -m looks at them
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for fixture, mark in MARKS.items():
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(mark)
    items.sort(key=lambda item: item.get_closest_marker("early") is None)


@pytest.fixture(scope="session", autouse=True)
def composed_once() -> Iterator[None]:
    """Hydra composes each config once a process: that takes 0.15 s, and most tests ask for the same few."""
    from dora.hydra import HydraMain

    compose, made = HydraMain._get_config_noinit, {}

    def composed(self, overrides=()):
        key = (self.full_config_path, self.config_name, *overrides)
        if key not in made:
            made[key] = pickle.dumps(compose(self, list(overrides)))
        return pickle.loads(made[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HydraMain, "_get_config_noinit", composed)
        yield
