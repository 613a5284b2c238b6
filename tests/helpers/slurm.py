"""The fixture ``slurm``: a real Slurm of one node (tests/helpers/slurm.sh), started once a test process.

Where it cannot start, tests that want it are skipped with the reason; with MICRO_SLURM=required they fail.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("slurm.sh")


@pytest.fixture(scope="session")
def slurm() -> Iterator[str]:
    """SLURM_CONF, which is set as long as the session lasts."""
    folder = tempfile.mkdtemp(prefix="micro-slurm-")  # short: pytest's are too long for a socket's name
    try:
        started = subprocess.run([SCRIPT, "start", folder], capture_output=True, text=True, timeout=600)
        if started.returncode:
            reason = started.stderr.strip() or f"{SCRIPT.name} start: exit code {started.returncode}"
            (pytest.fail if os.environ.get("MICRO_SLURM") == "required" else pytest.skip)(reason)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SLURM_CONF", f"{folder}/slurm.conf")
            yield f"{folder}/slurm.conf"
    finally:
        subprocess.run([SCRIPT, "stop", folder], timeout=60)
        shutil.rmtree(folder, ignore_errors=True)
