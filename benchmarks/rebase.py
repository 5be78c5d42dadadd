"""How long it takes to move an image to a new OS release.

An image of a 20 MB tarball is baked onto one release (the baseline, from the start of ``Bake`` to
its end), then asked for on the next release of the line. The value is the time from the start of
the workflow until the moved image stands under its tag in the registry's index; beside it stands
what the whole workflow takes, with the documents about the image. Neither has a smoke test; they
alternate in one run on one machine, whose clock both times are of.
"""

import asyncio
import statistics
import sys
import tempfile
from datetime import datetime
from pathlib import Path

from benchmarks.artifacts import made_up_files, write_tarball
from benchmarks.bakes import APP, Bakery, build_base, spec_of
from benchmarks.harness import Figure, RunningPlatform, report_values, running_platform, say
from fleetwide.client import Client
from fleetwide.dev.registry_accounts import ADMIN, admin_secret
from fleetwide.models.bakery import ArtifactType
from fleetwide.models.bakes import BakedImage
from fleetwide.providers.registry_auth import Credentials
from fleetwide.registry.references import version_tag
from fleetwide.settings import Settings
from fleetwide.temporal.client import connect

IMAGES = 7
FIGURE = Figure(
    name="rebase",
    unit="seconds from the start of the bake to the tag of the moved image",
    goal=0.2,
    better="lower",
    baseline="the full bake of the same image",
)


async def _begun(running: RunningPlatform, workflow_id: str) -> datetime:
    client = await connect(Settings(temporal_address=running.config.temporal.address))
    return (await client.get_workflow_handle(workflow_id).describe()).start_time


def seconds_to_tag(running: RunningPlatform, image: BakedImage) -> float:
    """From the start of the image's workflow until its version's tag meant it."""
    begun = asyncio.run(_begun(running, image.workflow_id))
    admin = Credentials(ADMIN, admin_secret(running.state).read_text())
    with Client(running.url("api"), login=admin) as client:
        moments = client.registry.history(image.repository, version_tag(image.version)).items
    [tagged] = [one for one in moments if one.digest == image.digest]
    return (tagged.started_at - begun).total_seconds()


class Moves:
    """One image after another: baked onto release 1, then moved to release 2."""

    def __init__(self, running: RunningPlatform, folder: Path) -> None:
        self.running = running
        self.bakery = Bakery(running)
        self.folder = folder
        self.files = made_up_files()

    def run(self, number: int) -> tuple[float, float, float]:
        """Seconds until the image has its tag, of the whole workflow, and of the full bake."""
        tarball = write_tarball(self.folder, self.files, number)
        artifact = self.bakery.upload(tarball, ArtifactType.TARBALL)
        version, entrypoint = str(number), [f"/opt/{APP}/run"]
        bake, _ = self.bakery.bake(spec_of(artifact, version, f"{APP}:1", entrypoint=entrypoint))
        whole, moved = self.bakery.bake(
            spec_of(artifact, version, f"{APP}:2", entrypoint=entrypoint)
        )
        if moved.rebased_from is None:
            sys.exit("the image was built anew: its layer should fit the new release")
        tagged = seconds_to_tag(self.running, moved)
        say(f"  image {number}: {tagged:.3f} s, whole {whole:.2f} s, full bake {bake:.2f} s")
        return tagged, whole, bake


def main() -> None:
    with running_platform() as running, tempfile.TemporaryDirectory(prefix="fw-bench-") as name:
        build_base(running, "1")
        build_base(running, "2", "ca-certificates")
        moves = Moves(running, Path(name))
        moves.run(0)
        say(f"{IMAGES} images, each baked and then moved")
        found = [moves.run(number) for number in range(1, IMAGES + 1)]
    baseline = {
        "median_seconds": round(statistics.median(bake for *_, bake in found), 3),
        "our_whole_workflow_seconds": round(statistics.median(whole for _, whole, _ in found), 3),
    }
    report_values(FIGURE, [tagged for tagged, *_ in found], baseline)


if __name__ == "__main__":
    main()
