"""HTTP and XML-RPC over a Unix socket."""

import http.client
import socket
import xmlrpc.client
from pathlib import Path


class UnixConnection(http.client.HTTPConnection):
    """An HTTP connection to the server that listens on Unix socket ``path``."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(str(self._path))
        except OSError:
            self.sock.close()
            raise


class UnixTransport(xmlrpc.client.Transport):
    """XML-RPC's transport to a server on Unix socket ``path``."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__()
        self._path = path
        self._timeout = timeout

    def make_connection(self, host: tuple[str, dict[str, str]] | str) -> UnixConnection:
        connection = UnixConnection(self._path, self._timeout)
        self._connection = (host, connection)  # where the base class looks for what to close
        return connection
