"""The one folder that a studio works in: where its things lie, and that nothing outside it is ever opened.

    bundles/  instruments        clips/   what was made            slices/  a store's slices, to be listened to
    stores/   token stores       sounds/  what was dropped here    sweeps/  pages of grids
    outputs/  runs, as Dora's    .studio/ jobs; no client reaches it

Runs, stores and bundles that the command line made there are the same as the studio's.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.engine.bundle import BUNDLES, Bundle, list_bundles

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}")
PLACES = ("bundles", "clips", "outputs", "slices", "sounds", "stores", "sweeps")
DEEP = 3  # folders below the workspace in which bundles and stores are looked for
ELSEWHERE = {"outputs", "clips", "slices", "sounds", "sweeps", "build", "node_modules", "audiocraft_ext", "tests"}


class Workspace:
    """Attributes: ``root``, its folder, with all links resolved."""

    def __init__(self, root: str | Path):
        self.root = Path(root).resolve()
        if not self.root.is_dir():
            raise UserError(f"{root}: expected a folder to work in, there is none; make it, or name another")

    def path(self, text: object) -> Path:
        """What a client called by ``text``, a path below the workspace with forward slashes; it need not be there.

        Raises:
            UserError: it is no such path, or it leads out of the workspace, or to something hidden.
        """
        if not isinstance(text, str) or not text or any(c in text for c in "\0\\") or not text.isprintable():
            raise UserError(f"expected a path below the workspace, got {str(text)[:80]!r}")
        pure = PurePosixPath(text)
        if pure.is_absolute() or not pure.parts or ":" in pure.parts[0]:
            raise UserError(f"{text[:80]}: expected a path below the workspace, got an absolute one")
        if any(part.startswith(".") for part in pure.parts) or text.startswith("./"):
            raise UserError(f"{text[:80]}: a path below the workspace has no '..' and nothing hidden in it")
        return self.inside(self.root / pure)

    def inside(self, path: Path) -> Path:
        """``path`` with all links resolved.

        Raises:
            UserError: that is outside the workspace.
        """
        try:
            real = path.resolve()
        except (OSError, RuntimeError):  # a link to itself
            real = Path(path.root)
        hidden = real.is_relative_to(self.root) and any(p.startswith(".") for p in real.relative_to(self.root).parts)
        if hidden or not real.is_relative_to(self.root):
            raise UserError(f"{path.name[:80]}: leads out of the workspace {self.root}, where the studio opens nothing")
        return real

    def place(self, kind: str, name: object) -> Path:
        """The folder or file ``name`` of one of :data:`PLACES`, which need not be there.

        Raises:
            UserError: it is no name.
        """
        assert kind in PLACES
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise UserError(f"a name has letters, digits, '.', '_', '+' and '-', 64 at most, got {str(name)[:80]!r}")
        return self.inside(self.root / kind / name)

    def called(self, path: Path) -> str:
        """The path as a client calls it."""
        return path.relative_to(self.root).as_posix()

    @property
    def jobs(self) -> Path:
        return self.root / ".studio" / "jobs"

    def environment(self) -> dict[str, str]:
        """What programs are told so that they work in here."""
        return {"MICRO_OUTPUTS": str(self.root / "outputs"), "MICRO_STORES": str(self.root / "stores")}

    def holding(self, name: str) -> Iterator[Path]:
        """Folders that hold a file ``name``, near the top of the workspace."""
        for folder, folders, files in os.walk(self.root):
            depth = len(Path(folder).relative_to(self.root).parts)
            if name in files:
                folders[:] = []
                yield Path(folder)
            elif depth >= DEEP:
                folders[:] = []
            folders[:] = sorted(f for f in folders if not f.startswith(".") and f not in ELSEWHERE)

    def bundle_path(self, called: object) -> Path:
        """The folder of a bundle: the name of one that ships, or a path below the workspace.

        Raises:
            UserError: there is none.
        """
        if isinstance(called, str) and called in list_bundles():
            return BUNDLES / called
        path = self.path(called)
        if not (path / "model.json").is_file():
            raise UserError(f"{called}: no such bundle in the workspace; the library lists those there are")
        return path

    def bundle(self, called: object) -> Bundle:
        """The same, opened."""
        return Bundle(self.bundle_path(called))

    def store_path(self, called: object) -> Path:
        """The folder of a token store, finished or not.

        Raises:
            UserError: there is none.
        """
        path = self.path(called)
        if not any((path / name).is_file() for name in ("store.json", "preparing.json")):
            raise UserError(f"{called}: no such token store in the workspace")
        return path


def number(given: dict, name: str, low: float, high: float, whole: bool = False) -> float | int | None:
    """A number that a client gave; None where it gave none.

    Raises:
        UserError: it is something else.
    """
    value = given.get(name)
    if value is None or value == "":
        return None
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high
    if not good or (whole and value != int(value)):
        raise UserError(f"{name}: expected a {'whole ' if whole else ''}number from {low:g} to {high:g}, got "
                        f"{str(value)[:40]!r}")
    return int(value) if whole else float(value)


def choice(given: dict, name: str, among: list[str] | tuple[str, ...]) -> str | None:
    """One of these words; None where the client said nothing."""
    value = given.get(name)
    if value is None or value == "":
        return None
    if value not in among:
        raise UserError(f"{name}: expected one of {', '.join(among)}, got {str(value)[:40]!r}")
    return value
