"""What it costs to bake a .deb of 20 MB with one dependency and a maintainer script.

Ours: the ``Bake`` workflow from its start to its end, the dependency asked of the archives of the
base's lock anew each time; only the smoke test is left out. The baseline is ``docker build``, whose
apt asks the same archives, and ``docker push`` onto the same base into the same registry. Both
sides alternate in one run on one machine; the value is the ratio of wall times.
"""

import tempfile
from pathlib import Path

from benchmarks.artifacts import made_up_files, write_deb
from benchmarks.bakes import Bakery, Contest, Kind, build_base, docker_side
from benchmarks.harness import Figure, report, running_platform
from fleetwide.models.bakery import ArtifactType

PAIRS = 5
FIGURE = Figure(
    name="bake_deb",
    unit="ratio of wall times",
    goal=0.6,
    better="lower",
    baseline="docker build (apt-get update and install) and docker push of the same 20 MB deb onto "
    "the same base into the same registry; ours: Bake from its start to its end, without a smoke "
    "test",
)
INSTALL_DEB = """COPY {file} /tmp/{file}
RUN apt-get -qq update && apt-get -qq install -y --no-install-recommends /tmp/{file} \\
    && rm -rf /tmp/{file} /var/lib/apt/lists/* /var/cache/apt/*.bin
USER 65534:65534
ENTRYPOINT ["/usr/bin/less"]
"""
# The builder's own network, as ours has it: the archives may be reached in no other way.
KIND = Kind(ArtifactType.DEB, write_deb, INSTALL_DEB, "/usr/bin/less", ("--network", "host"))


def main() -> None:
    files = made_up_files()
    with running_platform() as running, tempfile.TemporaryDirectory(prefix="fw-bench-") as name:
        release = build_base(running, "1")
        with docker_side(running, release) as docker:
            measured = Contest(KIND, Bakery(running), docker, Path(name), files).measure(PAIRS)
            report(FIGURE, measured)


if __name__ == "__main__":
    main()
