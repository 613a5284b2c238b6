"""audiocraft's own tests, unaltered, against the installed audiocraft under `audiocraft_ext.compat`.

    python -m tests.helpers.audiocraft_suite                         # fetches the source distribution by its name
    python -m tests.helpers.audiocraft_suite audiocraft-1.3.0.tar.gz # or takes it, or a folder with it unpacked

Not part of the fast suite: it needs the source distribution, which alone has the tests (half a minute on one core).
Only the tests are unpacked, so that what they import is the installed package. Exit code 0 if all of them pass.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from audiocraft_ext.core.errors import UserError, run_cli

HOW_MANY = 221  # in audiocraft 1.3.0; fewer would mean that some were not found


def fetch(folder: Path) -> Path:
    """Download audiocraft's source distribution, of the version that is installed, with pip."""
    name = f"audiocraft=={version('audiocraft')}"
    done = subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", "audiocraft",
                           "-d", str(folder), name], capture_output=True, text=True)
    found = sorted(folder.glob("audiocraft-*.tar.gz"))
    if not found:
        reason = (done.stderr.strip().splitlines() or ["pip says nothing"])[-1]
        raise UserError(f"{name} could not be downloaded ({reason}); give the path of its .tar.gz instead")
    return found[0]


def unpack_tests(source: Path, folder: Path) -> None:
    """Put the ``tests`` folder of ``source``, an archive or a folder, into ``folder``."""
    if source.is_dir():
        if not (source / "tests" / "common_utils").is_dir():
            raise UserError(f"{source}: expected the unpacked source distribution of audiocraft, found no tests in it")
        shutil.copytree(source / "tests", folder / "tests", ignore=shutil.ignore_patterns("__pycache__"))
        return
    try:
        with tarfile.open(source) as archive:
            for member in archive.getmembers():
                inside = re.fullmatch(r"[^/]+/(tests/[\w./]+\.py)", member.name)
                if inside and member.isfile() and ".." not in member.name:
                    path = folder / inside[1]
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(archive.extractfile(member).read())
    except (OSError, tarfile.TarError) as error:
        raise UserError(f"{source}: expected audiocraft's source distribution as .tar.gz or folder: {error}") from error
    if not (folder / "tests").is_dir():
        raise UserError(f"{source}: expected the source distribution of audiocraft, found no tests in it")


def main() -> int:
    with tempfile.TemporaryDirectory() as folder_name:
        folder = Path(folder_name)
        unpack_tests(Path(sys.argv[1]) if len(sys.argv) > 1 else fetch(folder), folder)
        began = time.perf_counter()
        # beside this repository, whose `tests` must not be taken for theirs: the working folder comes first
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
        process = subprocess.Popen([sys.executable, "-m", "pytest", "-p", "audiocraft_ext.compat", "-q", "-W", "ignore",
                                    "--rootdir", str(folder), "tests"], cwd=folder, env=environment, text=True,
                                   stdout=subprocess.PIPE)
        last = ""
        for line in process.stdout:
            print(line, end="", flush=True)
            last = line.strip() or last
        code = process.wait()
        print(f"audiocraft {version('audiocraft')}: {last} ({time.perf_counter() - began:.0f} s with the start)")
        return 0 if code == 0 and last.startswith(f"{HOW_MANY} passed") else 1


if __name__ == "__main__":
    run_cli(main)
