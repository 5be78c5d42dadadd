"""The smoke test: start a baked image for real, by crun, before anyone sees it."""

import platform
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fleetwide.bakery.smoke import MEMORY_BYTES, PROCESSES, reason_not_to_run
from fleetwide.models.bakes import ResolvedBake, SmokeReport
from fleetwide.providers.cgroups import limited
from fleetwide.providers.crun import ContainerParts, prepared
from fleetwide.providers.layer_trees import unpack_layer
from fleetwide.providers.progress import Progress
from fleetwide.providers.pump import Pump
from fleetwide.providers.smoke_runs import Output, SmokeRun


@dataclass(frozen=True)
class SmokeRequest:
    """A bake with its own layer, and what is needed to start it."""

    bake: ResolvedBake
    base: Path
    """The unpacked root file system of the base; it is only read."""
    layer: Path
    """The bake's own layer, a tar as it is or compressed."""
    env: Mapping[str, str]
    """The image's final environment."""
    workdir: Path
    """An empty folder of this test's own; it is empty again afterwards."""


def smoke_test(
    request: SmokeRequest, progress: Progress, log: Callable[[bytes], None]
) -> SmokeReport:
    """Start the image as its container would be started, but without network and capabilities.

    ``log`` gets what the container writes, as it comes and up to ``MAX_LOG_BYTES``. What
    ``progress`` or ``log`` raises ends everything and comes through; so does the end of this
    process, even by ``kill -9``.

    Raises:
        SmokeTestFailed: the image does not start as it should; the message has the last lines.
        PlatformError: this builder cannot run containers.
    """
    started = time.monotonic()
    reason = reason_not_to_run(request.bake, platform.machine())
    if reason is not None:
        return SmokeReport(passed=True, how=reason, seconds=0.0)
    layer, home = request.workdir / "layer", request.workdir / "container"
    try:
        layer.mkdir(parents=True)
        home.mkdir()
        unpack_layer(request.layer, layer, progress)
        with limited("smoke", memory=MEMORY_BYTES, processes=PROCESSES) as group:
            parts = ContainerParts(request.base, layer, home, group)
            with prepared(parts, progress) as container:
                output, pump = Output(log), Pump(progress)
                run = SmokeRun(request.bake.spec, request.env, container, group, output, pump)
                how, code = run.run()
    finally:
        shutil.rmtree(layer, ignore_errors=True)
        shutil.rmtree(home, ignore_errors=True)
    return SmokeReport(
        passed=True,
        how=how,
        exit_code=code,
        seconds=round(time.monotonic() - started, 3),
        last_lines=output.lines,
    )
