"""One small real Debian for all smoke tests, and layers to put on it."""

import io
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fleetwide.models.bakes import SmokeReport
from fleetwide.providers.layer_trees import untar
from fleetwide.providers.progress import Progress, no_progress
from fleetwide.providers.smoke_tests import SmokeRequest, smoke_test
from tests.unit.bakes import resolved

ROOT = Path(__file__).parents[3]
# perl, a shell and the usual tools come along with what is essential.
SPEC = {
    "name": "tiny",
    "version": "1",
    "suite": "bookworm",
    "variant": "essential",
    "packages": ["tini"],
    "users": [{"name": "app", "uid": 1500, "groups": ["adm"], "home": "/srv/app"}],
}

Content = str | bytes | tarfile.TarInfo | None
"""What an executable file of a layer holds; None makes a folder, a member is taken as it is."""


def _driven(*words: str) -> str:
    """What a build in a process of its own answers: that one may use the network."""
    command = [sys.executable, "-m", "tests.integration.os_builds.driver", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="session")
def base() -> Iterator[Path]:
    """An unpacked root file system, as a builder keeps it; nobody writes into it."""
    with tempfile.TemporaryDirectory(prefix="fw-smoke-") as folder:
        home = Path(folder)
        home.chmod(0o755)
        locked = _driven("prepare", folder, json.dumps(SPEC))
        _driven("build", folder, locked, str(home / "work"))
        tree = home / "tree"
        tree.mkdir()
        untar(home / "work/layer.tar.gz", tree, no_progress, "the base")
        yield tree


def write_layer(path: Path, files: Mapping[str, Content], *, packed: bool = False) -> Path:
    """A layer of files and folders."""
    with tarfile.open(path, "w:gz" if packed else "w") as archive:
        for name, content in files.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
                continue
            data = content.encode() if isinstance(content, str) else content or b""
            member = tarfile.TarInfo(name)
            member.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
            member.mode, member.size = 0o755, len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def link(name: str, target: str) -> tarfile.TarInfo:
    """A symbolic link of a layer."""
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, target
    return member


@dataclass
class Bench:
    """Bakes with a layer of ``files`` and starts it."""

    base: Path
    folder: Path
    files: dict[str, Content] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    written: bytearray = field(default_factory=bytearray)

    @property
    def workdir(self) -> Path:
        return self.folder / "work"

    def request(self, **changes: Any) -> SmokeRequest:
        """A request to start a bake of that spec."""
        layer = write_layer(self.folder / "layer.tar", self.files)
        self.workdir.mkdir(exist_ok=True)
        bake = resolved(**{"command": [], **changes})
        return SmokeRequest(bake, self.base, layer, self.env, self.workdir)

    def run(self, request: SmokeRequest, progress: Progress = no_progress) -> SmokeReport:
        """Start it, and see that nothing of it is left."""
        try:
            return smoke_test(request, progress, self.written.extend)
        finally:
            assert list(self.workdir.iterdir()) == []

    def test(self, progress: Progress = no_progress, **changes: Any) -> SmokeReport:
        """Start a bake of that spec."""
        return self.run(self.request(**changes), progress)

    def shell(self, script: str, **changes: Any) -> SmokeReport:
        """Start it with a script as its command."""
        return self.test(command=["/bin/sh", "-c", script], **changes)


@pytest.fixture
def bench(base: Path, tmp_path: Path) -> Bench:
    return Bench(base, tmp_path)
