"""A proxy in front of a server that stops at the n-th request, so that a test can kill the asker."""

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Literal, Self
from urllib.parse import urlsplit

HOP_BY_HOP = {"connection", "transfer-encoding", "keep-alive", "content-length", "date", "server"}
WAIT_SECONDS = 30.0


class Middle:
    """Passes requests on to ``target`` and counts them; ``stop_at`` names the one to stop at."""

    def __init__(self, target: str) -> None:
        self._target = urlsplit(target).netloc
        self._lock = threading.Lock()
        self._stop: tuple[int, Literal["before", "after"]] | None = None
        self._put = ""
        self.count = 0
        self.reached = threading.Event()
        """Set once the request to stop at is there (``before``) or has been answered (``after``)."""
        self.go_on = threading.Event()
        middle = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle(self) -> None:
                try:
                    super().handle()
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True  # the asker was killed

            def do_GET(self) -> None:
                middle._pass(self)

            do_HEAD = do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: object, _trace: TracebackType | None
    ) -> None:
        self.go_on.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def stop_at(self, number: int, when: Literal["before", "after"]) -> None:
        """Stop at the ``number``-th request from now on, before or after the server has it."""
        with self._lock:
            self.count, self._stop = 0, (number, when)
            self.reached.clear()
            self.go_on.clear()

    def stop_at_put(self, ending: str) -> None:
        """Stop at the next ``PUT`` of a path that ends so, before the server has it."""
        with self._lock:
            self._put = ending
            self.reached.clear()
            self.go_on.clear()

    def stop_nowhere(self) -> None:
        """Let all requests pass from now on, also the one that waits."""
        with self._lock:
            self.count, self._stop, self._put = 0, None, ""
        self.go_on.set()

    def _pass(self, asked: BaseHTTPRequestHandler) -> None:
        with self._lock:
            self.count += 1
            stop = self._stop if self._stop and self._stop[0] == self.count else None
        if self._is_put(asked) or (stop and stop[1] == "before"):
            self._wait()
        status, headers, body = self._ask(asked)
        if stop and stop[1] == "after":
            self._wait()
        asked.send_response(status)
        for name, value in headers:
            if name.lower() not in HOP_BY_HOP:
                asked.send_header(name, value)
        length = next((value for name, value in headers if name == "Content-Length"), None)
        asked.send_header("Content-Length", length or str(len(body)))
        asked.end_headers()
        asked.wfile.write(body)

    def _is_put(self, asked: BaseHTTPRequestHandler) -> bool:
        """Whether it is the ``PUT`` to stop at; one without a token only asks for a challenge."""
        known = asked.command == "PUT" and "Authorization" in asked.headers
        return known and self._put != "" and asked.path.endswith(self._put)

    def _wait(self) -> None:
        self.reached.set()
        self.go_on.wait(WAIT_SECONDS)

    def _ask(self, asked: BaseHTTPRequestHandler) -> tuple[int, list[tuple[str, str]], bytes]:
        body = asked.rfile.read(int(asked.headers.get("Content-Length") or 0))
        connection = http.client.HTTPConnection(self._target, timeout=WAIT_SECONDS)
        try:
            connection.request(asked.command, asked.path, body, dict(asked.headers.items()))
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()
