"""containerd's ctr, which stands for Kubernetes' nodes: a daemon of the test's own."""

import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.registry_clients.conftest import CREDENTIALS, run
from tests.oci_objects import image, write_layout
from tests.registry_stack import Stack

pytestmark = pytest.mark.integration

CONFIG = """
version = 2
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "{folder}/socket"
"""


class Ctr:
    """ctr, bound to one daemon."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def __call__(self, *words: str | Path, code: int = 0) -> str:
        return run("ctr", "--address", self._socket, "--namespace", "tests", *words, code=code)

    def images(self, action: str, reference: str, code: int = 0) -> str:
        words = ("--plain-http", "--user", CREDENTIALS)
        snapshots = ("--snapshotter", "native") if action == "pull" else ()
        return self("images", action, *words, *snapshots, reference, code=code)


@pytest.fixture(scope="session")
def ctr() -> Iterator[Ctr]:
    # A socket's path may only be short.
    with tempfile.TemporaryDirectory(prefix="fw-") as name:
        folder = Path(name)
        (folder / "config.toml").write_text(CONFIG.format(folder=folder))
        with (folder / "log").open("wb") as log:
            daemon = subprocess.Popen(
                ["containerd", "--config", str(folder / "config.toml")],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            _await(folder / "socket", daemon)
            yield Ctr(folder / "socket")
        finally:
            daemon.terminate()
            daemon.wait(30)


def _await(socket: Path, daemon: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and daemon.poll() is None:
        asked = ["ctr", "--address", str(socket), "version"]
        if subprocess.run(asked, capture_output=True, check=False).returncode == 0:
            return
        time.sleep(0.1)
    raise AssertionError(f"containerd does not answer: {daemon.poll()}")


@pytest.fixture
def pushed(stack: Stack, ctr: Ctr, repository: str, tmp_path: Path) -> Iterator[str]:
    """The reference of an image that ctr pushed, and that containerd has forgotten since."""
    reference = f"{stack.address}/{repository}:v1"
    made = image(2, size=50_000)
    write_layout(tmp_path / "layout", made, "v1")
    run("tar", "-C", tmp_path / "layout", "-cf", tmp_path / "image.tar", ".")
    ctr("images", "import", "--no-unpack", "--index-name", reference, tmp_path / "image.tar")
    ctr.images("push", reference)
    ctr("images", "rm", "--sync", reference)
    yield reference
    ctr("images", "rm", "--sync", reference)


def test_push_and_pull(ctr: Ctr, pushed: str) -> None:
    ctr.images("pull", pushed)
    assert pushed in ctr("images", "ls", "-q")


def test_what_is_not_there_is_said_to_be_not_found(stack: Stack, ctr: Ctr, repository: str) -> None:
    said = ctr.images("pull", f"{stack.address}/{repository}:absent", code=1)
    assert "not found" in said
