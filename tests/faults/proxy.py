"""A small TCP proxy on the loopback address: it passes, delays, cuts, or swallows what goes through."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import Literal

Mode = Literal["pass", "slow", "black_hole", "deaf", "refuse"]
_CHUNK = 65_536


class Proxy:
    """Forwards to a port of this machine. `mode` says how, from the next bytes on.

    black_hole: nothing passes in either direction, and nobody is told. deaf: what the client sends
    arrives, what the server answers does not.
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
        for end in found:
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.shutdown(socket.SHUT_RDWR)
            end.close()
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
            for source, sink, answers in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._pump, args=(source, sink, answers), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK):
                if self.mode == "slow":
                    self._ended.wait(0.2)
                if self.mode == "black_hole" or (self.mode == "deaf" and answers):
                    continue  # gone for good: the connection is of no use any more, and nobody says so
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        with self._lock:
            self._open -= {source, sink}
