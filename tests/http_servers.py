"""Small servers that say who they are; standard library alone, for processes that start often."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Place = tuple[str, int]
"""An IP address and a port."""


class Answering(BaseHTTPRequestHandler):
    """Says which server it is."""

    server: ThreadingHTTPServer

    def do_GET(self) -> None:
        body = str(self.server.server_port).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def server(
    place: Place = ("127.0.0.1", 0), answering: type[Answering] = Answering
) -> Iterator[Place]:
    """A server that is gone at once when the block ends; any free port for 0."""
    with ThreadingHTTPServer(place, answering) as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield (place[0], made.server_port)
        finally:
            made.shutdown()
            thread.join()
