"""A smoke test in a process of its own, which may be killed: ``driver.py BAKE BASE LAYER WORKDIR``.

What the container writes goes to stdout as it comes.
"""

import sys
from pathlib import Path

from fleetwide.models.bakes import ResolvedBake
from fleetwide.providers.progress import no_progress
from fleetwide.providers.smoke_tests import SmokeRequest, smoke_test


def write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.flush()


if __name__ == "__main__":
    bake, base, layer, workdir = sys.argv[1:]
    request = SmokeRequest(
        ResolvedBake.model_validate_json(bake), Path(base), Path(layer), {}, Path(workdir)
    )
    smoke_test(request, no_progress, write)
