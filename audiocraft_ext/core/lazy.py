"""What threads may share and a fork must not: opened once, when it is first asked for, and in a fork once more."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")


class _Forgetful(Protocol):
    def forget(self) -> None:
        """Called in a fork, which has none of its parent's threads; a lock that one of them held is never let go."""


_known: weakref.WeakSet[_Forgetful] = weakref.WeakSet()


def forget_in_forks(owner: _Forgetful) -> None:
    """From now on each fork of this process calls ``owner.forget()`` before anything else."""
    _known.add(owner)


def _forget_all() -> None:
    for owner in list(_known):
        owner.forget()


if hasattr(os, "register_at_fork"):  # Windows has no forks
    os.register_at_fork(after_in_child=_forget_all)


class Lazy(Generic[T]):
    """Calling it gives what ``make`` made. Threads that ask at once wait for the one that makes it."""

    _left: list[object] = []  # by forks: what has threads would wait for them, in vain, when it is taken apart

    def __init__(self, make: Callable[[], T]):
        self._make, self._lock = make, threading.Lock()
        self.made: T | None = None
        forget_in_forks(self)

    def __call__(self) -> T:
        if self.made is None:
            with self._lock:
                if self.made is None:
                    self.made = self._make()
        return self.made

    def forget(self) -> None:
        Lazy._left.append(self.made)
        self.made, self._lock = None, threading.Lock()
