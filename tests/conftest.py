"""One thread a test process: tests are small, and threads that wait for each other on a busy machine are slow."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import tempfile

# Started in the background of a script, this process and all it starts would pass over Ctrl-C, which tests press.
signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["MICRO_CACHE"] = tempfile.mkdtemp(prefix="micro-musicgen-")  # nothing of the user's is read or written
atexit.register(shutil.rmtree, os.environ["MICRO_CACHE"], ignore_errors=True)

import torch  # noqa: E402  reads the variable when it is imported

from tests.slurm import slurm  # noqa: E402, F401  a fixture

torch.set_num_threads(1)
