"""What it costs to bake an artifact of 20 MB: a tarball, and a wheel.

Ours: the ``Bake`` workflow from its start to the image that lies in the registry with SBOMs and
signed provenance; only the smoke test is left out. The baseline is ``docker build`` and ``docker
push`` of the same file onto the same base into the same registry. Both sides alternate in one run
on one machine; the value is that of the kind which does worse.
"""

import statistics
import tempfile
from pathlib import Path

from benchmarks.artifacts import made_up_files, write_tarball, write_wheel
from benchmarks.bakes import APP, Bakery, Contest, Kind, build_base, docker_side
from benchmarks.harness import Figure, report, running_platform, say
from fleetwide.models.bakery import ArtifactType

PAIRS = 3
FIGURE = Figure(
    name="bake_tarball",
    unit="ratio of wall times",
    goal=0.25,
    better="lower",
    baseline="docker build and docker push of the same 20 MB tarball (or wheel) onto the same base "
    "into the same registry; ours: Bake from its start to its end, without a smoke test",
)
ADD_TARBALL = f"""ADD {{file}} /opt/{APP}/
USER 65534:65534
ENTRYPOINT ["/opt/{APP}/run"]
"""
INSTALL_WHEEL = """COPY {file} /tmp/{file}
RUN python3 -m pip install --no-index --break-system-packages /tmp/{file} && rm /tmp/{file}
USER 65534:65534
ENTRYPOINT ["/usr/local/bin/bench-app"]
"""
KINDS = [
    Kind(ArtifactType.TARBALL, write_tarball, ADD_TARBALL, f"/opt/{APP}/run"),
    Kind(ArtifactType.WHEEL, write_wheel, INSTALL_WHEEL, "/usr/local/bin/bench-app"),
]


def ratio(measured: list[tuple[float, float]]) -> float:
    return statistics.median(ours / theirs for ours, theirs in measured)


def main() -> None:
    files = made_up_files()
    with running_platform() as running, tempfile.TemporaryDirectory(prefix="fw-bench-") as name:
        release = build_base(running, "1", "python3-pip")
        with docker_side(running, release) as docker:
            contests = [Contest(kind, Bakery(running), docker, Path(name), files) for kind in KINDS]
            measured = [contest.measure(PAIRS) for contest in contests]
            for kind, one in zip(KINDS, measured, strict=True):
                say(f"{kind.type}: {ratio(one):.3f}")
            report(FIGURE, max(measured, key=ratio))


if __name__ == "__main__":
    main()
