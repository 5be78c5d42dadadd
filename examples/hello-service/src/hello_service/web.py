"""The web service: says hello, and on which OS release it runs."""

import json
import os
import platform
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType
from typing import Optional

from hello_service import __version__

OS_RELEASE = Path("/etc/os-release")


def os_release(text: str) -> dict[str, str]:
    """The fields of an os-release file."""
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line)
    return {key: value.strip("\"'") for key, value in pairs}


def greeting() -> dict[str, str]:
    """What ``GET /`` answers."""
    fields = os_release(OS_RELEASE.read_text()) if OS_RELEASE.exists() else {}
    return {
        "message": "hello from Fleetwide",
        "version": __version__,
        "os": fields.get("PRETTY_NAME", "unknown"),
        "os_image": fields.get("IMAGE_ID", "unknown"),
        "os_release": fields.get("IMAGE_VERSION", "unknown"),
        "python": platform.python_version(),
    }


class Handler(BaseHTTPRequestHandler):
    """Two pages, and a plain 404 for all others."""

    server_version = f"hello-service/{__version__}"

    def do_GET(self) -> None:
        if self.path == "/":
            body = json.dumps(greeting(), indent=2) + "\n"
            self._answer(200, "application/json", body)
        elif self.path == "/healthz":
            self._answer(200, "text/plain", "ok\n")
        else:
            self._answer(404, "text/plain", f"nothing at {self.path}; try / or /healthz\n")

    def _answer(self, status: int, content_type: str, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{content_type}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _stop(_signal: int, _frame: Optional[FrameType]) -> None:  # noqa: UP045 - runs on 3.9
    raise SystemExit(0)


def main() -> None:
    # The first process of a container gets no default action for SIGTERM from the kernel.
    signal.signal(signal.SIGTERM, _stop)
    host = os.environ.get("HELLO_HOST", "0.0.0.0")  # noqa: S104 - a container's own network
    port = os.environ.get("HELLO_PORT", "8080")
    if not port.isdigit() or not 0 <= int(port) < 65536:
        sys.exit(f"HELLO_PORT must be a port number, not {port!r}")
    with ThreadingHTTPServer((host, int(port)), Handler) as server:
        sys.stdout.write(f"hello-service {__version__} listens on {host}:{server.server_port}\n")
        sys.stdout.flush()
        server.serve_forever()
