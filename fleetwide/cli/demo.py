"""``fleetwide demo``: the main job, from an operating system to a finished batch."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fleetwide.cli import output
from fleetwide.cli.context import client
from fleetwide.cli.output import Card, Column, Section
from fleetwide.errors import FleetwideError, NotFound, TaskFailed
from fleetwide.models.bakery import Artifact, ArtifactType, BakeSpec
from fleetwide.models.base import Record
from fleetwide.models.baseos import OSImageSpec
from fleetwide.models.batch import BatchJobSpec
from fleetwide.models.containers import ContainerTaskSpec
from fleetwide.models.documents import ImageDocument, Operation, ReleaseDocument

if TYPE_CHECKING:
    from fleetwide.client import Client

OS_SPEC = OSImageSpec(name="baseos", suite="bookworm", packages=["python3"], owner="demo")
SOURCE = Path("examples/hello-service")
SOURCE_EPOCH = "1577836800"
# The service in the background, asked over the container's own network until it answers.
ASK = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8080/').read().decode())"
ASK_THE_SERVICE = f"""
hello-service &
for try in 1 2 3 4 5 6 7 8 9 10; do
  sleep 0.3
  python3 -c "{ASK}" 2>/dev/null && exit 0
done
exit 1
"""
CHILDREN = 20


class DemoStep(Record):
    """One line of the summary."""

    step: str
    result: str
    digest: str = ""
    seconds: float
    link: str = ""


class DemoReport(Record):
    """Everything that the demo made."""

    steps: list[DemoStep]


@dataclass
class Demo:
    """A run of the demo: what it has made so far."""

    api: "Client"
    steps: list[DemoStep] = field(default_factory=list)

    @contextmanager
    def step(self, title: str) -> Iterator[Callable[..., None]]:
        """Time one step; the block tells its result. A failure names the step and passes on."""
        output.note(f"==> {title}")
        started = time.monotonic()

        def tell(result: str, *, digest: str | None = None, link: str | None = None) -> None:
            seconds = round(time.monotonic() - started, 1)
            output.note(f"    {result} ({seconds} s)")
            short = output.short_digest(digest) if digest else ""
            self.steps.append(
                DemoStep(step=title, result=result, digest=short, seconds=seconds, link=link or "")
            )

        try:
            yield tell
        except FleetwideError:
            output.note(f"    this step failed: {title}")
            raise

    def run(self) -> DemoReport:
        release = self.operating_system()
        self.promote(release)
        image = self.bake()
        self.service(image)
        self.batch(image)
        return DemoReport(steps=self.steps)

    def operating_system(self) -> ReleaseDocument:
        """Build the release; where nothing has changed since the last demo, that one is taken."""
        title = f"BaseOS: build {OS_SPEC.distribution} {OS_SPEC.suite} from its lock"
        with self.step(title) as tell:
            release, operation = self._build_release()
            unchanged = operation.id != f"{release.name}/{release.version}"
            built = (
                "nothing has changed since" if unchanged else f"{release.package_count} packages"
            )
            tell(
                f"{release.name} {release.version}, {built}",
                digest=release.image_digest,
                link=release.links.get("ui"),
            )
        return release

    def _build_release(self) -> tuple[ReleaseDocument, Operation]:
        from fleetwide.cli.errands import wait_for_release  # noqa: PLC0415
        from fleetwide.cli.problems import raise_failure  # noqa: PLC0415

        release, operation = wait_for_release(self.api, self.api.os.build(OS_SPEC))
        raise_failure(operation)
        assert release is not None
        return release, operation

    def promote(self, release: ReleaseDocument) -> None:
        with self.step("BaseOS: promote it to stable by an update") as tell:
            if "stable" in release.channels:
                tell(f"{release.name}:stable points at {release.version} already")
                return
            self.api.os.promote(release.name, release.version)
            tell(f"{release.name}:stable points at {release.version}")

    def bake(self) -> ImageDocument:
        """Bake the example service twice: the second bake must be answered with the first image."""
        with self.step("Bakery: bake the hello service onto baseos:stable") as tell:
            spec = self._bake_spec()
            image = self._baked(spec)
            tell(f"{image.repository}:{image.version}", digest=image.digest, link=_ui(image))
        with self.step("Bakery: bake the same again") as tell:
            again = self._baked(spec)
            if again.digest != image.digest:
                raise FleetwideError(f"the second bake gave another image, {again.digest}")
            tell("answered with the first image", digest=again.digest)
        return image

    def _bake_spec(self) -> BakeSpec:
        with tempfile.TemporaryDirectory() as folder:
            wheel = build_wheel(Path(folder))
            uploaded = self.api.bakery.upload(wheel)
        artifact = Artifact(
            type=ArtifactType.WHEEL, sha256=uploaded.sha256, filename=uploaded.filename
        )
        return BakeSpec(
            name="hello-service",
            version="1.0.0",
            artifacts=[artifact],
            base="baseos:stable",
            entrypoint=["/usr/local/bin/hello-service"],
            ports=[8080],
            owner="demo",
        )

    def _baked(self, spec: BakeSpec) -> ImageDocument:
        from fleetwide.cli.errands import wait_for_bake  # noqa: PLC0415
        from fleetwide.cli.problems import raise_failure  # noqa: PLC0415

        operation = wait_for_bake(self.api, self.api.bakery.bake(spec))
        raise_failure(operation)
        return ImageDocument.model_validate({**operation.result, "links": operation.links})

    def service(self, image: ImageDocument) -> None:
        """Run the service in a container and ask it for its greeting."""
        from fleetwide.cli.errands import wait_for_task  # noqa: PLC0415

        with self.step("Containers: run the service in a task and ask it over HTTP") as tell:
            started = self.api.tasks.run(_service_task(image))
            task = wait_for_task(self.api, started.id)
            if task.exit_code != 0:
                raise TaskFailed(
                    f"task {task.id} ended otherwise than well: {task.message}",
                    hint=f"fleetwide task logs {task.id}",
                )
            tell(f"task {task.id} on host {task.host_id}", link=task.links.get("ui"))
        self._show_greeting(task.id)

    def _show_greeting(self, task_id: str) -> None:
        for line in self.api.tasks.logs(task_id).splitlines():
            if line:
                output.note(f"    | {line}")

    def batch(self, image: ImageDocument) -> None:
        """An array whose every fifth child fails at first and succeeds on its retry."""
        from fleetwide.cli.errands import wait_for_job  # noqa: PLC0415

        title = f"Batch: {CHILDREN} children, every fifth fails first and is retried"
        with self.step(title) as tell:
            started = self.api.jobs.submit(_batch_job(image))
            job = wait_for_job(self.api, started.id)
            children = self.api.jobs.children(job.id).items
            if job.state != "succeeded":
                raise TaskFailed(
                    f"batch job {job.id} {job.state}", hint=f"fleetwide batch children {job.id}"
                )
            again = sum(child.attempts > 1 for child in children)
            tell(
                f"job {job.id}: {len(children)} succeeded, {again} on a retry",
                link=job.links.get("ui"),
            )


def demo(
    style: Annotated[
        output.Format, typer.Option("--output", "-o", help="How the summary is printed.")
    ] = output.Format.TABLE,
) -> None:
    """Run the main job on the development platform: an OS, a bake, a task, a batch."""
    with client() as api:
        report = Demo(api).run()
        ui = next((step.link for step in report.steps if step.link), "")
        address = api.address
    output.record(report, _card(report, address, ui.partition("/namespaces")[0]), style)


def build_wheel(folder: Path) -> Path:
    """The example service as a wheel; the same source gives the same bytes.

    Raises:
        NotFound: the current folder is not a checkout of Fleetwide.
    """
    if not (SOURCE / "pyproject.toml").is_file():
        raise NotFound(
            f"{SOURCE} is not here: the demo runs in a checkout of Fleetwide",
            hint="cd into the checkout, then: make demo",
        )
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=SOURCE,
        env={**os.environ, "SOURCE_DATE_EPOCH": SOURCE_EPOCH},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise FleetwideError(f"the example's wheel could not be built: {done.stderr[-500:]}")
    [wheel] = folder.glob("*.whl")
    return wheel


def _service_task(image: ImageDocument) -> ContainerTaskSpec:
    return ContainerTaskSpec.model_validate(
        {
            "app": "hello-service",
            "owner": "demo",
            "container": {
                "image": image.reference,
                "entrypoint": ["sh", "-c", ASK_THE_SERVICE],
                "resources": {"cpu": 0.5, "memory": "64MiB"},
            },
        }
    )


def _batch_job(image: ImageDocument) -> BatchJobSpec:
    return BatchJobSpec.model_validate(
        {
            "app": "primes",
            "owner": "demo",
            "size": CHILDREN,
            "container": {
                "image": image.reference,
                "entrypoint": ["/usr/local/bin/hello-batch"],
                "env": {"FAIL_FIRST_ATTEMPT": "5"},
                "resources": {"cpu": 0.5, "memory": "64MiB"},
            },
            "retry": {"retries": 2, "delay_seconds": 0.5},
        }
    )


def _ui(image: ImageDocument) -> str:
    return image.links.get("ui", "")


def _card(report: DemoReport, api_url: str, ui_url: str) -> Card:
    columns = (
        Column[DemoStep]("STEP", lambda item: item.step),
        Column[DemoStep]("RESULT", lambda item: item.result),
        Column[DemoStep]("DIGEST", lambda item: item.digest),
        Column[DemoStep]("SECONDS", lambda item: item.seconds),
    )
    links = [f"{step.step}: {step.link}" for step in report.steps if step.link]
    further = [
        "fleetwide task list",
        "fleetwide batch list",
        "temporal --env-file temporal-dev.yaml --env dev workflow list --query \"Product='batch'\"",
        "make down",
    ]
    return Card(
        name="demo",
        rows=(("temporal web ui", ui_url), ("api docs", f"{api_url}/docs")),
        sections=(
            Section("What was made", output.table_lines(report.steps, columns)),
            Section("In the Temporal Web UI", links),
            Section("Go on with (in .venv/bin)", further),
        ),
    )
