"""Work in processes that may crash, hang or swell: each costs the one task that it was about, and the run goes on.

A file of unknown origin goes through decoders written in C. So each is read in a worker with a time limit and a memory
limit. Each worker has a pipe of its own and one task at a time: whose fault an end was is never a guess, and a worker
that is killed in the middle of a word takes nobody else's words with it. A thread in the parent deals out the tasks,
so that the workers go on while the caller is busy.

Workers come from multiprocessing's fork server (where there is none, they are spawned): forking the parent, which has
threads, is not safe. They are silent (decoders chatter on stderr), ignore Ctrl-C (the parent ends them), use one thread
each, and end by themselves when the parent is gone.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing import connection
from multiprocessing.reduction import ForkingPickler
from typing import Any, TypeVar

from data_prep.jobs.worker import Failure, failure, serve

T = TypeVar("T")
R = TypeVar("R")

ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
STILLBORN = 3  # workers in a row that end before they are ready: then none will be
HAS_FORK_SERVER = "forkserver" in multiprocessing.get_all_start_methods()


def run(work: Callable[[T], R], tasks: Iterable[T], *, workers: int, seconds: Callable[[T], float], memory: int,
        setup: Callable | None = None, setup_args: tuple = (), ordered: bool = False,
        ahead: int | None = None) -> Iterator[tuple[T, R | Failure]]:
    """Each task with what ``work`` made of it, or with why it did not.

    Args:
        work: a function at the top of a module; what it takes and returns is pickled.
        tasks: taken as they are needed.
        workers: processes; 0 works in this one, without limits.
        seconds: how long a task may take, from when a worker begins it.
        memory: bytes that a task may need on top of what its worker lives on, where the system can tell (Linux).
        setup: called once in each worker, before its first task.
        ordered: results in the order of the tasks; else as they come.
        ahead: how many tasks may be taken and not yet handed over (twice the workers).

    Raises:
        UserError: from ``setup``.
        RuntimeError: the workers do not start.
    """
    if workers == 0:
        yield from _run_here(work, tasks, setup, setup_args)
        return
    ahead = ahead or 2 * workers
    numbered, taken, done, turn = enumerate(tasks), {}, {}, 0
    pool = _Pool(workers, (work, setup, setup_args, memory))
    try:
        while True:
            while len(taken) < ahead and (new := next(numbered, None)) is not None:
                number, task = new
                taken[number] = task
                pool.put(number, task, seconds(task))
            if not taken:
                return
            number, result = pool.get()
            done[number] = result
            while (number := turn if ordered else next(iter(done), -1)) in done:
                yield taken.pop(number), done.pop(number)
                turn += 1
    finally:
        pool.close()


def _run_here(work: Callable, tasks: Iterable, setup: Callable | None, setup_args: tuple) -> Iterator[tuple]:
    if setup:
        setup(*setup_args)
    for task in tasks:
        try:
            result = work(task)
        except Exception as error:
            result = failure(error, 0)
        yield task, result


class _Worker:
    """A process, and the task it has: ``number`` is None while it has none."""

    def __init__(self, args: tuple):
        self.pipe, theirs = multiprocessing.Pipe()
        self.process = _context().Process(target=serve, args=(theirs, *args), daemon=True)
        self.ready, self.number, self.seconds, self.deadline = False, None, 0.0, float("inf")
        with _one_thread():
            self.process.start()
        theirs.close()

    def give(self, number: int, task: bytes, seconds: float) -> bool:
        """Whether it took the task; else it is dead."""
        try:
            self.pipe.send_bytes(task)
        except OSError:
            return False
        self.number, self.seconds, self.deadline = number, seconds, time.monotonic() + seconds
        return True

    def end(self) -> None:
        self.process.kill()
        self.process.join(5)
        self.pipe.close()

    def why(self) -> Failure:
        """Why it is dead."""
        self.process.join(5)
        code = self.process.exitcode
        if code is None or code >= 0:
            return Failure(f"its process ended by itself (exit code {code})", True)
        if code == -signal.SIGKILL:
            return Failure("its process was killed (signal 9), perhaps because memory ran out", True)
        return Failure(f"its decoder crashed (signal {-code})", True)


class _Pool:
    """Workers, and the thread that deals out tasks to them. Results are as many as tasks were put."""

    def __init__(self, count: int, args: tuple):
        _start_forkserver(args[0])
        self._args, self._workers = args, [_Worker(args) for _ in range(count)]
        self._stillborn, self._closing = 0, False
        self._inbox: deque[tuple[int, bytes, float]] = deque()
        self._outbox: queue.SimpleQueue[tuple[int, Any] | BaseException] = queue.SimpleQueue()
        self._bell, self._ring = multiprocessing.Pipe(duplex=False)
        self._thread = threading.Thread(target=self._deal, daemon=True)
        self._thread.start()

    def put(self, number: int, task: Any, seconds: float) -> None:
        self._inbox.append((number, bytes(ForkingPickler.dumps(task)), seconds))
        self._ring.send_bytes(b"!")

    def get(self) -> tuple[int, Any]:
        item = self._outbox.get()
        if isinstance(item, BaseException):
            raise item
        return item

    def close(self) -> None:
        """End all workers at once, whatever they do."""
        self._closing = True
        self._ring.send_bytes(b"!")
        self._thread.join()
        self._ring.close()
        self._bell.close()

    def _deal(self) -> None:
        try:
            while not self._closing:
                self._give_out()
                now, first = time.monotonic(), min(worker.deadline for worker in self._workers)
                ready = connection.wait([self._bell, *(worker.pipe for worker in self._workers)],
                                        None if first == float("inf") else max(0.0, first - now))
                if self._bell in ready:
                    self._bell.recv_bytes()
                for worker in [worker for worker in self._workers if worker.pipe in ready]:
                    self._receive(worker)
                for worker in [worker for worker in self._workers if worker.deadline < time.monotonic()]:
                    self._answer(worker, Failure(f"took longer than {worker.seconds:g} s", True))
                    self._replace(worker)
        except BaseException as error:  # the caller's to deal with
            self._outbox.put(error)
        finally:
            for worker in self._workers:
                worker.process.kill()
            for worker in self._workers:
                worker.end()

    def _give_out(self) -> None:
        for worker in [worker for worker in self._workers if worker.ready and worker.number is None]:
            if not self._inbox:
                return
            task = self._inbox.popleft()
            if not worker.give(*task):
                self._inbox.appendleft(task)
                self._replace(worker)

    def _receive(self, worker: _Worker) -> None:
        try:
            kind, value, last = worker.pipe.recv()
        except Exception:  # an end in the middle of a word can look like anything
            if not worker.ready:
                self._stillborn += 1
                if self._stillborn == STILLBORN:
                    raise RuntimeError(f"workers do not start: {worker.why().reason}") from None
            elif worker.number is not None:
                if worker.process.is_alive():  # it sent what cannot be read
                    worker.process.kill()
                self._answer(worker, worker.why())
            self._replace(worker)
            return
        if kind == "ready":
            worker.ready, self._stillborn = True, 0
        elif kind == "unfit":
            raise value
        else:
            self._answer(worker, value)
            if last:
                self._replace(worker)

    def _answer(self, worker: _Worker, result: Any) -> None:
        self._outbox.put((worker.number, result))
        worker.number, worker.deadline = None, float("inf")

    def _replace(self, worker: _Worker) -> None:
        worker.end()
        self._workers[self._workers.index(worker)] = _Worker(self._args)


def _context():
    return multiprocessing.get_context("forkserver" if HAS_FORK_SERVER else "spawn")


def _start_forkserver(work: Callable) -> None:
    """With what ``work`` needs imported once for all workers, and deaf to Ctrl-C like all that come from it."""
    if not HAS_FORK_SERVER:
        return
    from multiprocessing import forkserver, resource_tracker

    resource_tracker.ensure_running()  # which the server would start, and let the signal through again by it
    forkserver.set_forkserver_preload([getattr(work, "func", work).__module__])
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # inherited, unlike a handler
    try:
        with _one_thread():
            forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Processes that start meanwhile have one thread: their libraries look at the environment when they are loaded."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
