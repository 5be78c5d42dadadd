"""``fleetwide artifact``: deployment artifacts."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fleetwide.cli import output
from fleetwide.cli.context import Output, client, noun
from fleetwide.cli.output import Card, Format
from fleetwide.errors import InvalidInput
from fleetwide.models.bakery import ArtifactType
from fleetwide.models.documents import ArtifactDocument

if TYPE_CHECKING:
    from fleetwide.client import Client

app = noun("Deployment artifacts.")

ENDINGS: dict[str, ArtifactType] = {
    ".deb": ArtifactType.DEB,
    ".whl": ArtifactType.WHEEL,
    ".tar": ArtifactType.TARBALL,
    ".tar.gz": ArtifactType.TARBALL,
    ".tgz": ArtifactType.TARBALL,
    ".tar.xz": ArtifactType.TARBALL,
    ".tar.bz2": ArtifactType.TARBALL,
}


@app.callback()
def artifact() -> None:
    """Deployment artifacts: what bakes are made of."""


@app.command()
def upload(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True)],
    style: Output = Format.TABLE,
) -> None:
    """Upload a .deb, a wheel or a tarball; it is known by its SHA-256 from then on."""
    with client() as api:
        document = send(api, file)
    rows = (
        ("file", document.filename),
        ("size", output.size(document.size)),
        ("sha256", document.sha256),
    )
    output.record(document, Card(document.sha256, rows), style)


def send(api: "Client", file: Path) -> ArtifactDocument:
    """Upload with its progress on show."""
    total = max(file.stat().st_size, 1)
    with output.step(f"uploading {file.name}") as step:
        return api.bakery.upload(file, lambda sent: step.update(f"{100 * sent // total} %"))


def type_of(file: Path) -> ArtifactType:
    """The kind of artifact that the file's ending stands for."""
    for ending, kind in ENDINGS.items():
        if file.name.endswith(ending):
            return kind
    raise InvalidInput(
        f"{file.name}: the ending tells no kind of artifact; known are {', '.join(ENDINGS)}"
    )
