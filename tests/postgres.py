"""A PostgreSQL server of the tests' own, and databases of both kinds for tests that run on both.

The server speaks over a socket in a temporary folder only, and sorts by a natural language's
rules, as servers do by default: what depends on the order of bytes has to say so itself.
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import psutil
import psycopg
import pytest

from fleetwide.store import migrate
from fleetwide.store.session import Store

INSTALLED = Path("/usr/lib/postgresql")
SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "60",
    "shared_buffers": "32MB",
    "deadlock_timeout": "200ms",
    # Its transactions, too, keep readers of events waiting for a moment.
    "autovacuum": "off",
}
TEMPLATE = "migrated"
LOCALE = ("--encoding=UTF8", "--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US")


def _programs() -> Path:
    """The newest server's programs (Debian puts each version into a folder of its own)."""
    found = sorted(INSTALLED.glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    assert found, "PostgreSQL is not installed: apt-get install postgresql"
    return found[-1].parent


class Postgres:
    """A running server; ``stop`` and ``start`` are for tests of what a restart does.

    ``settings`` are those that shall differ from the tests' own.
    """

    def __init__(self, folder: Path, **settings: str) -> None:
        self._bin = _programs()
        self._folder = folder
        self._settings = {**SETTINGS, **settings}
        # The server refuses to run as root.
        account = pwd.getpwnam("postgres") if os.getuid() == 0 else None
        self._uid = account.pw_uid if account else None
        self._gid = account.pw_gid if account else None
        self._names = count()
        self._server: subprocess.Popen[bytes] | None = None
        if account:
            shutil.chown(folder, account.pw_uid, account.pw_gid)
        self._run("initdb", "--no-sync", "-A", "trust", "-U", "postgres", *LOCALE, self._data)

    @property
    def _data(self) -> str:
        return str(self._folder / "data")

    def start(self) -> None:
        """Start the server and wait until it answers."""
        settings = {**self._settings, "unix_socket_directories": str(self._folder)}
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with (self._folder / "log").open("ab") as log:
            self._server = subprocess.Popen(
                [self._bin / "postgres", "-D", self._data, *words],
                stdout=log,
                stderr=log,
                cwd=self._folder,
                user=self._uid,
                group=self._gid,
                extra_groups=[] if self._uid else None,
            )
        deadline = time.monotonic() + 60
        while not self._answers():
            assert self._server.poll() is None, (self._folder / "log").read_text()
            assert time.monotonic() < deadline, (self._folder / "log").read_text()
            time.sleep(0.05)

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """Break off every connection and end the server."""
        if self._server is not None:
            # Those of a killed server end by themselves; no other starts before.
            backends = psutil.Process(self._server.pid).children()
            self._server.send_signal(number)
            self._server.wait(60)
            psutil.wait_procs(backends, 60)
            self._server = None

    def database(self, template: str = "template1") -> str:
        """The URL of a new database."""
        name = f"test{next(self._names)}"
        with psycopg.connect(self.conninfo("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
        return self.url(name)

    def make_template(self) -> None:
        """Make a database of today's schema for others to be copied from."""
        with psycopg.connect(self.conninfo("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {TEMPLATE}".encode())
        _migrate(self.url(TEMPLATE))

    def url(self, name: str) -> str:
        return f"postgresql+psycopg://postgres@/{name}?host={self._folder}"

    def conninfo(self, name: str) -> str:
        return f"host={self._folder} user=postgres dbname={name}"

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.conninfo("postgres")).close()
        except psycopg.OperationalError:
            return False
        return True

    def _run(self, program: str, *words: str) -> None:
        subprocess.run(
            [self._bin / program, *words],
            check=True,
            capture_output=True,
            cwd=self._folder,
            user=self._uid,
            group=self._gid,
            extra_groups=[] if self._uid else None,
        )


def _migrate(url: str) -> None:
    store = Store.open(url)
    migrate.upgrade(store.engine)
    store.engine.dispose()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One server for all tests of this process."""
    with tempfile.TemporaryDirectory(prefix="fw-pg-") as folder:
        server = Postgres(Path(folder))
        try:
            server.start()
            server.make_template()
            yield server
        finally:
            # Nobody reads these files again: writing out hundreds of databases takes half a minute.
            server.stop(signal.SIGQUIT)


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database without tables, of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/empty.db"
    server: Postgres = request.getfixturevalue("postgres")
    return server.database()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file of today's schema for others to be copied from."""
    file = tmp_path_factory.mktemp("template") / "migrated.db"
    _migrate(f"sqlite:///{file}")
    return file


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database of today's schema, of either kind."""
    if request.param == "sqlite":
        file = tmp_path / "test.db"
        shutil.copy(request.getfixturevalue("sqlite_template"), file)
        return f"sqlite:///{file}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.database(TEMPLATE)
