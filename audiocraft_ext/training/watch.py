"""Processes of one run that watch each other: when one dies, all end, soon and with a reason.

A collective with a process that is gone fails at once (gloo) or never returns (NCCL), and a deadline on it is no
answer: processes rightly wait for minutes while the first one samples. So each holds a connection to the first one that
carries nothing but the last word. The kernel closes it when the process dies, however it dies, and a thread sees that
even while the main thread hangs in C. (A machine that vanishes closes nothing; TCP's own keepalive finds that out.)
"""

from __future__ import annotations

import contextlib
import os
import secrets
import selectors
import socket
import threading
from collections.abc import Callable

START_S = 600  # all processes have come by then
BYE = "bye"  # the last word of a process that ended as it should
SAME_S = 2  # what one process failed of may be what all are about to say
KEEPALIVE = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4}  # seconds, seconds, times: 35 s in all


class Watch:
    """The thread of one process, with its connections.

    Args:
        rank: of this process.
        peers: connections by rank: of the first process to all others, of each other to the first.
        tell: called with one line when another process was lost, before this one ends with exit code 1.

    Attributes:
        orphaned: whoever started this process is gone (``kill`` of a launcher, which tells its children nothing).
    """

    def __init__(self, rank: int, peers: dict[int, socket.socket], tell: Callable[[str], None]):
        self.rank, self.peers, self.tell = rank, peers, tell
        self.orphaned = False
        self._failed, self._first_ended = threading.Event(), threading.Event()
        self._parent = os.getppid()
        self._thread = threading.Thread(target=self._look, name="watch", daemon=True)
        self._thread.start()

    def leave(self, error: BaseException | None = None) -> None:
        """The last word of this process. If it ends as it should, all but the first wait here for the first, which has
        more to do: a launcher takes the first end of a process that was stopped for a crash, and kills the rest."""
        if isinstance(error, RuntimeError):
            self.verdict()
        if error is not None:
            self._failed.set()
        words = BYE if error is None else f"process {self.rank} ended: {str(error) or type(error).__name__}"
        self._say(words)
        if error is None and self.rank:
            self._first_ended.wait()

    def verdict(self) -> None:
        """A collective failed, maybe because another process died? Then the thread says so and ends this one."""
        if not self._failed.is_set():
            self._thread.join(timeout=5)
            self._failed.set()

    def _say(self, words: str) -> None:
        line = " ".join(words.split())[:1000] + "\n"
        for peer in self.peers.values():
            with contextlib.suppress(OSError):
                peer.sendall(line.encode())

    def _look(self) -> None:
        with selectors.DefaultSelector() as selector:
            for rank, peer in self.peers.items():
                selector.register(peer, selectors.EVENT_READ, rank)
            while True:
                for key, _ in selector.select(timeout=1.0):
                    words = _last_word(key.fileobj)
                    if words == BYE:
                        selector.unregister(key.fileobj)
                        if key.data == 0:
                            self._first_ended.set()
                    elif self._failed.wait(SAME_S if words else 0):
                        return
                    else:
                        self._end(words or f"process {key.data} is gone: killed (out of memory?), or its machine is")
                self.orphaned = os.getppid() != self._parent

    def _end(self, line: str) -> None:
        self._say(line)
        try:
            self.tell(line)
        finally:
            os._exit(1)  # the main thread may never come back


def _last_word(peer: socket.socket) -> str:
    """Empty if its process ended without one."""
    try:
        return peer.makefile("r", encoding="utf-8", errors="replace").readline().strip()
    except OSError:
        return ""


def connect(rank: int, size: int, address: str, store) -> dict[int, socket.socket]:
    """Connections of the first process with all others.

    Args:
        address: where the first process is.
        store: torch's, which all processes share; it carries the port, and a word that strangers do not know.

    Raises:
        OSError: they did not come within :data:`START_S`.
    """
    family, _, _, _, where = socket.getaddrinfo(address, 0, type=socket.SOCK_STREAM)[0]
    if rank:
        port, word = store.get("watch").decode().split()
        peer = socket.create_connection((address, int(port)), timeout=START_S)
        peer.sendall(bytes.fromhex(word) + rank.to_bytes(4, "big"))
        return {0: _kept_alive(peer)}
    peers: dict[int, socket.socket] = {}
    word = secrets.token_bytes(16)
    local = where[0] in ("127.0.0.1", "::1")
    with socket.create_server((where[0] if local else "", 0), family=family, backlog=size) as server:
        server.settimeout(START_S)
        store.set("watch", f"{server.getsockname()[1]} {word.hex()}")
        while len(peers) < size - 1:
            peer = server.accept()[0]
            peer.settimeout(10)
            with contextlib.suppress(OSError):  # a stranger
                hello = peer.recv(len(word) + 4, socket.MSG_WAITALL)
                if hello[:-4] == word:
                    peers[int.from_bytes(hello[-4:], "big")] = _kept_alive(peer)
    return peers


def _kept_alive(peer: socket.socket) -> socket.socket:
    peer.settimeout(None)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE.items():
        if hasattr(socket, name):
            peer.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return peer
