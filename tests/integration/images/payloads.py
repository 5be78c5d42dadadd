"""Payloads to test with: artifacts made on the spot, and what became of them."""

import hashlib
import subprocess
import tarfile
from pathlib import Path
from typing import Any

from fleetwide.models.bakes import AppliedRecipe, BaseImage, Dependency, DependencyKind
from fleetwide.providers.layers import pack_layer, write_layer
from fleetwide.providers.payloads import Payload, PayloadInputs, make_payload
from fleetwide.providers.progress import Progress, no_progress
from tests.unit.bakes import resolved

Given = tuple[str, Path, str]
"""Type, place and name of an artifact."""


def sha256_of(path: Path) -> str:
    return "0" * 64 if path.is_dir() else hashlib.sha256(path.read_bytes()).hexdigest()


def dependency(path: Path, kind: DependencyKind, name: str) -> Dependency:
    return Dependency(
        kind=kind,
        name=name,
        version="1.0",
        filename=path.name,
        sha256=sha256_of(path),
        url=f"http://files.example/{path.name}",
    )


def inputs_of(
    base: BaseImage,
    root: Path,
    *given: Given,
    dependencies: tuple[tuple[Path, DependencyKind, str], ...] = (),
    recipe: AppliedRecipe | None = None,
    **changes: Any,
) -> PayloadInputs:
    artifacts = [
        {
            "type": kind,
            "filename": name,
            "sha256": sha256_of(path),
            **({"repository": "apps/payload"} if kind == "image" else {}),
        }
        for kind, path, name in given
    ]
    bake = resolved(base, artifacts=artifacts, name="app").model_copy(
        update={"dependencies": [dependency(*one) for one in dependencies], "recipe": recipe}
    )
    return PayloadInputs(
        bake=bake,
        artifacts=[path for _, path, _ in given],
        dependencies=[path for path, _, _ in dependencies],
        base=root,
        **changes,
    )


def made(inputs: PayloadInputs, workdir: Path, progress: Progress = no_progress) -> Payload:
    workdir.mkdir()
    return make_payload(inputs, workdir, progress)


def layer_of(payload: Payload, tar: Path) -> str:
    """Write the layer; answers its digest."""
    write_layer(payload.entries, tar, no_progress)
    return pack_layer(payload.entries, tar.with_suffix(".gz"), no_progress).layer.digest


def members(tar: Path) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(tar) as archive:
        return {member.name: member for member in archive}


def rooted(root: Path, tar: Path, target: Path, *command: str) -> str:
    """What a program says on the base with the layer on it."""
    subprocess.run(["cp", "-a", root, target], check=True)
    subprocess.run(["tar", "xf", tar, "-C", target], check=True)
    done = subprocess.run(["chroot", target, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def make_deb(
    folder: Path, postinst: str = "#!/bin/sh\n", *, name: str = "tool", **fields: str
) -> Path:
    tree = folder / f"{name}-tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / f"usr/lib/{name}").mkdir(parents=True)
    (tree / f"usr/lib/{name}/run").write_text(f"#!/bin/sh\necho {name}\n")
    (tree / f"usr/lib/{name}/run").chmod(0o755)
    control = {
        "Package": name,
        "Version": "1.0",
        "Architecture": "all",
        "Maintainer": "Nobody <nobody@example.org>",
        "Description": "a tool",
        **{key.replace("_", "-"): value for key, value in fields.items()},
    }
    text = "".join(f"{key}: {value}\n" for key, value in control.items())
    (tree / "DEBIAN/control").write_text(text)
    (tree / "DEBIAN/postinst").write_text(postinst)
    (tree / "DEBIAN/postinst").chmod(0o755)
    target = folder / f"{name}.deb"
    command = ["dpkg-deb", "--root-owner-group", "--build", str(tree), str(target)]
    subprocess.run(command, check=True, capture_output=True)
    return target
