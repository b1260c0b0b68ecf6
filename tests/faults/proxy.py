"""A small TCP proxy on the loopback address: it passes, delays, cuts, or swallows what goes through."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import Literal

Mode = Literal["pass", "slow", "black_hole", "deaf", "refuse", "torn"]
_CHUNK = 65_536


class Proxy:
    """Forwards to a port of this machine. `mode` says how, from the next bytes on.

    black_hole: nothing passes in either direction, and nobody is told. deaf: what the client sends
    arrives, what the server answers does not. torn: the next answer is cut in its middle by a reset.
    """

    def __init__(self, target: int) -> None:
        self.mode: Mode = "pass"
        self._target = target
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._listen, daemon=True).start()

    def cut(self) -> int:
        """Reset every connection; how many there were."""
        with self._lock:
            found, self._open = self._open, set()
        _reset(*found)
        return len(found) // 2

    def close(self) -> None:
        self._ended.set()
        self._listener.close()
        self.cut()

    def _listen(self) -> None:
        while not self._ended.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.mode == "refuse":
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self._target), timeout=5)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            with self._lock:
                self._open |= {client, server}
            for giver, taker, answers in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._pump, args=(giver, taker, answers), daemon=True).start()

    def _pump(self, giver: socket.socket, taker: socket.socket, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while data := giver.recv(_CHUNK):
                if self.mode == "slow":
                    self._ended.wait(0.2)
                if self.mode == "black_hole" or (self.mode == "deaf" and answers):
                    continue  # gone for good: the connection is of no use any more, and nobody says so
                if self.mode == "torn" and answers:
                    taker.sendall(data[: len(data) // 2])
                    _reset(giver, taker)
                    break
                taker.sendall(data)
        for end in (giver, taker):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        with self._lock:
            self._open -= {giver, taker}


def _reset(*ends: socket.socket) -> None:
    """Close with RST: the other side learns that it was cut, and loses what it had not read yet."""
    for end in ends:
        with contextlib.suppress(OSError):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            # shutdown() wakes a thread that waits in recv(); close() alone would not.
            end.shutdown(socket.SHUT_RD)
        end.close()
