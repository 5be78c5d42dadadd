"""``fleetwide artifact``: deployment artifacts."""

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from fleetwide.bakery.artifact_names import kind_of
from fleetwide.cli import output
from fleetwide.cli.context import Output, client, noun
from fleetwide.cli.output import Card, Format
from fleetwide.errors import InvalidInput
from fleetwide.models.bakery import ArtifactType
from fleetwide.models.documents import ArtifactDocument

if TYPE_CHECKING:
    from fleetwide.client import Client

app = noun("Deployment artifacts.")

ELF = b"\x7fELF"


@app.callback()
def artifact() -> None:
    """Deployment artifacts: what bakes are made of."""


@app.command()
def upload(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True)],
    style: Output = Format.TABLE,
) -> None:
    """Upload a file to bake; it is known by its SHA-256 from then on."""
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


@contextmanager
def packed(path: Path) -> Iterator[Path]:
    """The file itself; a folder as a tarball whose bytes depend on the folder's content alone."""
    if not path.is_dir():
        yield path
        return
    with TemporaryDirectory(prefix="fleetwide-") as folder:
        target = Path(folder) / f"{path.resolve().name}.tar"
        with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as archive:
            for below in sorted(path.rglob("*")):
                archive.add(below, str(below.relative_to(path)), recursive=False, filter=_plain)
        yield target


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without owner and times, which differ from checkout to checkout."""
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry


def type_of(file: Path) -> ArtifactType:
    """The kind of artifact that the file's ending, or else its first bytes, stand for."""
    kind = kind_of(file.name)
    if kind is not None:
        return kind
    with file.open("rb") as reader:
        start = reader.read(len(ELF))
    if start == ELF or start.startswith(b"#!"):
        return ArtifactType.BINARY
    raise InvalidInput(
        f"{file.name}: neither its ending nor its first bytes tell what it is",
        hint=f"--type, one of: {', '.join(ArtifactType)}",
    )
