"""What submitit runs in the process of a run of this machine: the same as on a cluster, and a note of how it ended."""

from __future__ import annotations

import contextlib
import os
import pickle
from pathlib import Path

from audiocraft_ext.sweep import process
from audiocraft_ext.sweep.local import write_json


def note_of(jobs: Path, job_id: str) -> Path:
    """Where the process of a job says who it is and, once it has ended, its exit ``code``."""
    return jobs / f"{job_id}_process.json"


class _Main:
    """Pickles as Dora's main does: by its name."""

    def __init__(self, name: str):
        self.name = name

    def __reduce__(self):
        from dora.main import _load_main

        return _load_main, (self.name,)


class Target:
    """Dora's ``_SubmitItTarget``, which is imported where it runs: it brings torch, and the keeper that starts runs has
    no need of that. submitit sees no exit code of a job here, so this writes it down."""

    def __init__(self, main: str, argv: list[str], environ: dict[str, str]):
        """``main``: Dora's full name of it; ``environ``: what submitit would set otherwise."""
        self.main, self.argv, self.environ = main, argv, environ

    def __call__(self) -> None:
        os.environ.update(self.environ)
        note = note_of(Path(os.environ["SUBMITIT_FOLDER"]), os.environ["SUBMITIT_LOCAL_JOB_ID"])
        me = process.identity()
        with contextlib.suppress(OSError):
            write_json(note, me)
        code = 1
        try:
            self.work()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
            raise
        except KeyboardInterrupt:
            code = 130
            raise
        finally:
            with contextlib.suppress(OSError):
                write_json(note, me | {"code": code})

    def work(self) -> None:
        from dora.shep import _SubmitItTarget

        _SubmitItTarget()(pickle.dumps(_Main(self.main)), self.argv)
