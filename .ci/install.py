"""Make a virtual environment and install micro-musicgen in it: `python3 .ci/install.py .venv` (what `make setup` runs).

Running it twice costs nothing: a stamp in the environment holds a hash of everything that decides what is installed. An
installation that was interrupted is started from scratch (pip's cache makes that quick), for a package that was half
written when pip died can look complete. Standard library only, and no syntax newer than Python 3.6, so that an older
Python gets as far as the line that tells what is needed.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "constraints.txt"
NO_DEPS = ROOT / "requirements-nodeps.txt"
INPUTS = (ROOT / "pyproject.toml", CONSTRAINTS, NO_DEPS, Path(__file__).resolve())
PYTHON_MIN = (3, 10)
TORCH_MIN = (2, 6)
# Run by another interpreter: the version of the torch that it would import and, with its CUDA libraries, what lies at
# the top of site-packages; without the seconds that importing it takes.
FIND_TORCH = """
import importlib.metadata as metadata, json, re
paths, seen = set(), set()
def walk(name):
    seen.add(name)
    try: dist = metadata.distribution(name)
    except metadata.PackageNotFoundError: return None
    tops = {file.parts[0] for file in dist.files or []} or {"torch", "torchgen", "functorch", dist._path.name}
    paths.update(str(dist.locate_file(top)) for top in tops - {"..", "/", "__pycache__"})
    for need in dist.requires or []:
        other = re.match(r"[\\w.-]+", need).group()
        if re.match("nvidia|cuda|triton|pytorch.triton", other) and other not in seen: walk(other)
    return dist.version
print(json.dumps({"version": walk("torch"), "paths": sorted(paths)}))
"""


class SetupError(Exception):
    """Ends the installation; the message is the whole explanation."""


def say(text):
    """One line for the user, at once."""
    print(f"setup: {text}", flush=True)


def dotted(numbers):
    """(3, 10) -> "3.10"."""
    return ".".join(map(str, numbers))


def version_of(text):
    """`2.13.0+cpu` -> (2, 13); what cannot be read counts as too old."""
    try:
        return tuple(int(part) for part in text.split("+")[0].split(".")[:2])
    except ValueError:
        return (0, 0)


def stamp_of(inputs=INPUTS):
    """A hash of the files that decide what is installed."""
    digest = hashlib.sha256()
    for path in inputs:
        digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()


def fetches_cuda(report):
    """Whether a report of `pip install --report` would bring NVIDIA's libraries."""
    return any(item["metadata"]["name"].lower().startswith("nvidia-") for item in report.get("install", []))


def has_nvidia_gpu():
    """Whether a driver with at least one device is there."""
    if not shutil.which("nvidia-smi"):
        return False
    listed = subprocess.run(["nvidia-smi", "-L"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return listed.returncode == 0 and b"GPU" in listed.stdout


def find_torch(python):
    """{"version", "paths"} of the torch that ``python`` would import, if it is new enough; else None."""
    out = subprocess.run([str(python), "-c", FIND_TORCH], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    found = json.loads(out.stdout.decode() or "{}")
    return found if version_of(found.get("version") or "") >= TORCH_MIN else None


def link_torch(torch, python):
    """Make a torch from elsewhere visible to the environment of ``python``.

    Links to its files alone: with all of the other site-packages on the path, packages found there would not be
    installed here, and neither would their commands (`dora`).
    """
    ask = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site = Path(subprocess.check_output(ask).decode().strip())
    for path in map(Path, torch["paths"]):
        if path.exists() and not (site / path.name).exists():
            (site / path.name).symlink_to(path)


def make_venv(venv):
    """Create ``venv`` from the Python that runs this script, from scratch."""
    if sys.version_info < PYTHON_MIN:
        raise SetupError(
            f"Python {dotted(PYTHON_MIN)} or newer is needed, {sys.executable} is {dotted(sys.version_info[:3])}; "
            "with another one: make setup PYTHON=python3.11"
        )
    say(f"a new environment in {venv}, with Python {dotted(sys.version_info[:3])}")
    base = sys.executable
    if Path(sys.prefix).resolve() == venv.resolve():  # it is active: it cannot clear itself and live
        base = sys._base_executable
    command = [base, "-m", "venv", "--clear", str(venv)]
    made = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if made.returncode:
        shutil.rmtree(str(venv), ignore_errors=True)
        sys.stderr.write(made.stdout.decode(errors="replace"))
        raise SetupError(
            f"{base} could not make a virtual environment (above). On Debian and Ubuntu: apt install python3-venv"
        )


class Pip:
    """pip of one environment. Quiet unless a person watches, because a long download wants its progress bar."""

    def __init__(self, python):
        self.base = [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input"]
        self.quiet = [] if sys.stdout.isatty() else ["-qq"]

    def install(self, what, *args):
        """`pip install ARGS`; ``what`` is for the user's eyes."""
        start = time.monotonic()
        if subprocess.run(self.base + ["install"] + self.quiet + list(args), cwd=str(ROOT)).returncode:
            raise SetupError(f"pip could not install {what} (above); `make setup` tries again")
        say(f"{what}: {time.monotonic() - start:.0f} s")

    def plan(self, *args):
        """What `pip install ARGS` would do, as pip's report; empty when it cannot say."""
        command = self.base + ["install", "-qq", "--dry-run", "--report", "-"] + list(args)
        out = subprocess.run(command, cwd=str(ROOT), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        try:
            return json.loads(out.stdout.decode())
        except ValueError:
            return {}


def install_torch(python, pip, venv):
    """Torch first, by itself: nothing that depends on it may choose it. Returns the constraints for all the rest."""
    torch = find_torch(python)
    if torch:
        say(f"torch {torch['version']} is there and stays")
    else:
        pinned = ["torch", "-c", str(CONSTRAINTS)]
        if sys.platform.startswith("linux") and not has_nvidia_gpu() and fetches_cuda(pip.plan(*pinned)):
            say(
                "no NVIDIA GPU here, but pip's torch brings gigabytes of CUDA: to avoid them, press Ctrl-C, point "
                "PIP_INDEX_URL or PIP_FIND_LINKS to PyTorch's CPU builds (see PyTorch's 'Get started'), `make setup`"
            )
        pip.install("torch", *pinned)
        torch = find_torch(python)
        if not torch:
            raise SetupError(f"torch was installed, but {python} does not find it")
    lines = [line for line in CONSTRAINTS.read_text().splitlines() if not line.startswith("torch==")]
    constraints = venv / "constraints.txt"
    constraints.write_text("\n".join(lines + ["torch==" + torch["version"], ""]))
    return constraints


def works(venv):
    """Whether ``venv`` can be built upon: complete, at the place it was made for, and its pip runs."""
    python, place = venv / "bin" / "python", venv / ".place"
    if (venv / ".installing").exists() or not python.exists():
        return False
    if place.exists() and place.read_text() != str(venv):  # moved: the commands in bin/ point to where it was
        return False
    return subprocess.run([str(python), "-m", "pip", "--version"], stdout=subprocess.DEVNULL).returncode == 0


def setup(venv):
    """Bring ``venv`` to what the checkout asks for. An environment that is there and works is kept, its torch too."""
    stamp, place, running = venv / ".installed", venv / ".place", venv / ".installing"
    python = venv / "bin" / "python"
    wanted = stamp_of()
    if stamp.exists() and stamp.read_text() == wanted and place.read_text() == str(venv) and python.exists():
        return
    start = time.monotonic()
    machine_torch = None
    if not works(venv):
        if Path(sys.prefix).resolve() != venv.resolve():
            machine_torch = find_torch(sys.executable)
        make_venv(venv)
    running.touch()
    try:
        if machine_torch:
            link_torch(machine_torch, python)
        pip = Pip(python)
        # An older pip knows no --report and no --build-constraint.
        pip.install("pip", "pip", "-c", str(CONSTRAINTS))
        constraints = install_torch(python, pip, venv)
        pins = ["-c", str(constraints), "--build-constraint", str(CONSTRAINTS)]
        pip.install("dependencies", *pins, "-e", ".[train,studio,test]")
        # We ourselves once more, at the end: dora-search, of an extra, has a `dora` too, and pip writes either last.
        pip.install("audiocraft", *pins, "--no-deps", "-r", str(NO_DEPS), "-e", ".")
        place.write_text(str(venv))
        stamp.write_text(wanted)
    except SetupError:
        running.unlink()  # pip ended by itself and left nothing half-written
        raise
    running.unlink()
    say(f"done in {time.monotonic() - start:.0f} s")


def main():
    """`install.py VENV`"""
    setup(Path(os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else str(ROOT / ".venv"))))


if __name__ == "__main__":
    try:
        main()
    except SetupError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("stopped; `make setup` starts afresh")
