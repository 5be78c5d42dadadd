"""One registry per data plane, with accounts; and the programs that people reach it with."""

import subprocess
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import pytest

from tests.registry_stack import PASSWORD, Stack, StackOptions, registry_stack

CREDENTIALS = f"admin:{PASSWORD}"


def run(*command: str | Path, code: int = 0, stdin: bytes | None = None) -> str:
    """Run a program; both of its outputs. It must end with ``code``."""
    done = subprocess.run(
        [str(word) for word in command],
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        timeout=60,
    )
    said = done.stdout.decode(errors="replace")
    assert done.returncode == code, f"{command[0]} ended with {done.returncode}: {said}"
    return said


@pytest.fixture(scope="session", params=["nginx", "redirect"])
def stack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    plane: Literal["nginx", "redirect"] = request.param
    folder = tmp_path_factory.mktemp(f"clients-{plane}")
    with registry_stack(folder, StackOptions(plane=plane, auth="token")) as made:
        yield made


@pytest.fixture
def repository() -> str:
    """A repository that nobody else uses, and that the account ``reader`` may read."""
    return f"apps/{uuid.uuid4().hex[:12]}"


class Docker:
    """The docker CLI with a login of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._references: list[str] = []

    def __call__(self, *words: str, code: int = 0, stdin: bytes | None = None) -> str:
        return run("docker", "--config", self._folder, *words, code=code, stdin=stdin)

    def login(self, address: str, user: str, password: str, code: int = 0) -> str:
        words = ("login", "--username", user, "--password-stdin", address)
        return self(*words, code=code, stdin=password.encode())

    def load(self, layer: bytes, *references: str) -> None:
        """Make an image of one layer, a tar, known to the daemon by all ``references``."""
        self("import", "-", references[0], stdin=layer)
        for other in references[1:]:
            self("tag", references[0], other)
        self._references += references

    def forget(self, references: Sequence[str] = ()) -> None:
        for reference in references or self._references:
            subprocess.run(["docker", "rmi", "-f", reference], capture_output=True, check=False)


@pytest.fixture
def docker(tmp_path: Path) -> Iterator[Docker]:
    made = Docker(tmp_path / "docker")
    yield made
    made.forget()
