"""What the benchmarks of the Bakery share: a base, bakes, and what Docker does instead."""

import asyncio
import http.client
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.harness import RunningPlatform, alternate, say
from fleetwide.client import Client
from fleetwide.dev.registry_accounts import ADMIN, admin_secret
from fleetwide.models.bakery import Artifact, ArtifactType, BakeSpec, SmokeSpec
from fleetwide.models.bakes import BakedImage
from fleetwide.models.baseos import OSImageSpec, Variant
from fleetwide.models.documents import ReleaseDocument
from fleetwide.settings import Settings
from fleetwide.temporal.client import connect

APP = "bench"
BUILD_SECONDS = 280
NO_SMOKE = SmokeSpec(enabled=False)


def build_base(running: RunningPlatform, version: str, *packages: str) -> ReleaseDocument:
    """A small OS release to bake onto."""
    say(f"building the OS release {APP}:{version}")
    spec = OSImageSpec(
        name=APP, version=version, suite="bookworm", variant=Variant.APT, packages=list(packages)
    )
    with Client(running.url("api")) as client:
        client.os.build(spec, wait=BUILD_SECONDS)
        return client.os.get(APP, version)


def spec_of(artifact: Artifact, version: str, base: str, **more: object) -> BakeSpec:
    """A bake whose smoke test, unless ``more`` says otherwise, is left out."""
    given = {"name": APP, "smoke": NO_SMOKE, **more}
    return BakeSpec.model_validate(
        {**given, "version": version, "base": base, "artifacts": [artifact]}
    )


@dataclass(frozen=True)
class Bakery:
    """Our side: artifacts go through the API, bakes through a Temporal client."""

    running: RunningPlatform

    def upload(self, path: Path, kind: ArtifactType) -> Artifact:
        with Client(self.running.url("api")) as client:
            sent = client.bakery.upload(path)
        return Artifact(type=kind, sha256=sent.sha256, filename=sent.filename)

    def bake(self, spec: BakeSpec) -> tuple[float, BakedImage]:
        """Seconds from the start of the workflow to its image."""
        return asyncio.run(self._bake(spec))

    async def _bake(self, spec: BakeSpec) -> tuple[float, BakedImage]:
        client = await connect(Settings(temporal_address=self.running.config.temporal.address))
        started = time.perf_counter()
        image = await client.execute_workflow(
            "Bake", spec, id=f"bake/{uuid.uuid4()}", task_queue="control", result_type=BakedImage
        )
        return time.perf_counter() - started, image


class Caller:
    """A bare client of the API: one connection, and one request that it makes again and again."""

    def __init__(self, api: str, method: str, path: str, body: str = "") -> None:
        self.path = path
        self._connection = http.client.HTTPConnection(urlsplit(api).netloc)
        self._request = (method, path, body, {"Content-Type": "application/json"})

    def call(self) -> tuple[int, bytes]:
        """Status and body of the answer."""
        self._connection.request(*self._request)
        answer = self._connection.getresponse()
        return answer.status, answer.read()

    def close(self) -> None:
        self._connection.close()


@dataclass
class Docker:
    """The baseline: ``docker build`` and ``docker push`` of the same, into the same registry."""

    registry: str
    """host:port, which Docker takes for one without TLS on loopback."""
    base: str
    """The base as repository@digest."""
    pushed: list[str] = field(default_factory=list)

    def run(self, artifact: Path, steps: str, folder: Path, *options: str) -> float:
        """Seconds of build and push; ``{file}`` in the ``steps`` stands for the artifact's name."""
        context = folder / "context"
        context.mkdir()
        (context / artifact.name).hardlink_to(artifact)
        text = f"FROM {self.registry}/{self.base}\n{steps.replace('{file}', artifact.name)}"
        (context / "Dockerfile").write_text(text)
        image = f"{self.registry}/docker/{APP}:{len(self.pushed)}"
        started = time.perf_counter()
        docker("build", "--quiet", "--tag", image, *options, str(context))
        docker("push", "--quiet", image)
        taken = time.perf_counter() - started
        self.pushed.append(image)
        for path in context.iterdir():
            path.unlink()
        context.rmdir()
        return taken


def docker(*words: str, stdin: str = "") -> None:
    """Run the docker program; what it says is shown when it fails."""
    command = ["docker", *words]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        say(done.stdout + done.stderr)
        done.check_returncode()


@contextmanager
def docker_side(running: RunningPlatform, release: ReleaseDocument) -> Iterator[Docker]:
    """The baseline with the base pulled already; its images are gone afterwards."""
    registry = running.url("registry").partition("://")[2]
    base = f"{registry}/{release.reference}"
    side = Docker(registry, release.reference)
    secret = admin_secret(running.state).read_text()
    docker("login", "--username", ADMIN, "--password-stdin", registry, stdin=secret)
    try:
        docker("pull", "--quiet", base)
        yield side
    finally:
        docker("image", "rm", "--force", *side.pushed, base)
        docker("logout", registry)


@dataclass(frozen=True)
class Kind:
    """One kind of artifact: how it is made, and what a Dockerfile does with it."""

    type: ArtifactType
    write: Callable[[Path, dict[str, bytes], int], Path]
    steps: str
    """What follows FROM; ``{file}`` stands for the artifact's name."""
    entrypoint: str
    options: tuple[str, ...] = ()
    """Of ``docker build``."""


@dataclass(frozen=True)
class Contest:
    """Both sides of one kind; every run has an artifact that nobody has seen before."""

    kind: Kind
    bakery: Bakery
    docker: Docker
    folder: Path
    files: dict[str, bytes]
    runs: list[Path] = field(default_factory=list)

    def fresh(self) -> Path:
        path = self.kind.write(self.folder, self.files, len(self.runs))
        self.runs.append(path)
        return path

    def ours(self) -> float:
        artifact = self.bakery.upload(self.fresh(), self.kind.type)
        version = f"{self.kind.type}-{len(self.runs)}"
        spec = spec_of(artifact, version, f"{APP}:1", entrypoint=[self.kind.entrypoint])
        return self.bakery.bake(spec)[0]

    def baseline(self) -> float:
        kind = self.kind
        return self.docker.run(self.fresh(), kind.steps, self.folder, *kind.options)

    def measure(self, pairs: int) -> list[tuple[float, float]]:
        """Seconds of ours and of the baseline, after one of each to warm up."""
        self.ours()
        self.baseline()
        size = self.runs[0].stat().st_size / 1e6
        say(f"{pairs} pairs of a {self.kind.type} of {size:.1f} MB")
        return alternate(self.ours, self.baseline, pairs)
