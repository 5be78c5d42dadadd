"""A TCP proxy that counts what a server sends, and can be made deaf."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

PIECE = 64 * 1024


@dataclass
class CountingProxy:
    """Forwards to one server; ``sent`` counts the bytes that came from it."""

    target: tuple[str, int]
    listener: socket.socket
    sent: int = 0
    deaf: bool = False
    stall_at: int | None = None
    """From so many bytes on, it passes none any more, and keeps its connections."""
    rate: int | None = None
    """It passes so many bytes a second, all connections together."""
    _ended: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _pace: threading.Lock = field(default_factory=threading.Lock)
    _open: set[socket.socket] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def serve(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._connected, args=(client,), daemon=True).start()

    def _connected(self, client: socket.socket) -> None:
        if self.deaf:
            client.close()
            return
        with client, socket.create_connection(self.target) as server:
            with self._lock:
                self._open |= {client, server}
            up = threading.Thread(target=self._pump, args=(client, server, False), daemon=True)
            up.start()
            self._pump(server, client, True)
            up.join()
            with self._lock:
                self._open -= {client, server}

    def _pump(self, source: socket.socket, sink: socket.socket, counted: bool) -> None:
        with suppress(OSError):
            while piece := source.recv(PIECE):
                if counted:
                    with self._lock:
                        self.sent += len(piece)
                    if self.stall_at is not None and self.sent > self.stall_at:
                        self._ended.wait()
                    if self.rate is not None:
                        with self._pace:
                            self._ended.wait(len(piece) / self.rate)
                sink.sendall(piece)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def go_deaf(self) -> None:
        """Break off every connection and take no new one."""
        self.deaf = True
        self.hang_up()

    def hang_up(self) -> None:
        self._ended.set()
        with self._lock:
            ends = list(self._open)
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextmanager
def counting_proxy(url: str) -> Iterator[CountingProxy]:
    """Before the server at ``url`` (http, host and port)."""
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy = CountingProxy((host, int(port)), listener)
        thread = threading.Thread(target=proxy.serve, daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            thread.join(10)
            proxy.hang_up()
