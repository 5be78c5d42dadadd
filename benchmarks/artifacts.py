"""Artifacts to bake: about 20 MB each, in one of the forms that people deploy.

They are made of the same files each time but for one that tells their number, so that no cache of
either side has seen them before.
"""

import base64
import hashlib
import io
import random
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

FILE_BYTES = 100_000
DENSE_FILES, LOOSE_FILES = 150, 220
"""Together they pack to about 20 MB."""
PROGRAM = b"#!/bin/sh\nexit 0\n"
DEB_NEEDS = "less"
CONTROL = """Package: bench-tool
Version: 1.{number}
Architecture: all
Maintainer: Nobody <nobody@example.org>
Depends: {needs}
Description: a tool to measure with
"""
POSTINST = """#!/bin/sh
set -e
mkdir -p /var/lib/bench-tool
echo configured > /var/lib/bench-tool/state
"""


def made_up_files(dense: int = DENSE_FILES, loose: int = LOOSE_FILES) -> dict[str, bytes]:
    """Files as of a program: ``dense`` hardly pack (to three quarters), ``loose`` pack well."""
    rng = random.Random(4)
    words = [rng.randbytes(rng.randint(1, 6)).hex() for _ in range(4000)]
    files = {}
    for number in range(dense):
        files[f"lib/{number}.bin"] = base64.b64encode(rng.randbytes(FILE_BYTES * 3 // 4))
    for number in range(loose):
        text = " ".join(rng.choices(words, k=FILE_BYTES // 8))
        files[f"share/{number}.txt"] = text.encode()[:FILE_BYTES]
    return files


def write_tarball(folder: Path, files: dict[str, bytes], number: int) -> Path:
    """A .tar.gz with ``PROGRAM`` as ``run``."""
    path = folder / f"app-{number}.tar.gz"
    with tarfile.open(path, "w:gz", compresslevel=6) as archive:
        for name, content in {**files, "number": str(number).encode()}.items():
            archive.addfile(member(name, len(content), 0o644), io.BytesIO(content))
        archive.addfile(member("run", len(PROGRAM), 0o755), io.BytesIO(PROGRAM))
    return path


def member(name: str, size: int, mode: int) -> tarfile.TarInfo:
    """The header of a file in a tar."""
    header = tarfile.TarInfo(name)
    header.size, header.mode = size, mode
    return header


def write_wheel(folder: Path, files: dict[str, bytes], number: int) -> Path:
    """A pure wheel of the files, some modules and a command."""
    path = folder / f"bench_app-1.{number}-py3-none-any.whl"
    info = f"bench_app-1.{number}.dist-info"
    module = "".join(f"def answer_{n}() -> int:\n    return {n}\n\n\n" for n in range(200))
    content = {f"bench_app/data/{name}": data for name, data in files.items()}
    content |= {f"bench_app/module_{n}.py": module.encode() for n in range(50)}
    content["bench_app/__init__.py"] = f"def main() -> None:\n    print({number})\n".encode()
    content[f"{info}/METADATA"] = (
        f"Metadata-Version: 2.1\nName: bench-app\nVersion: 1.{number}\n".encode()
    )
    content[f"{info}/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: bench\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    content[f"{info}/entry_points.txt"] = b"[console_scripts]\nbench-app = bench_app:main\n"
    rows = [f"{name},sha256={_record_hash(data)},{len(data)}" for name, data in content.items()]
    content[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,", ""]).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def _record_hash(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def write_deb(folder: Path, files: dict[str, bytes], number: int) -> Path:
    """A package with one dependency that the base does not have, and a maintainer script."""
    path, tree = folder / f"bench-tool_1.{number}_all.deb", folder / "deb"
    home = tree / "usr/lib/bench-tool"
    for name, content in {**files, "number": str(number).encode()}.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(content)
    (tree / "DEBIAN").mkdir()
    (tree / "DEBIAN/control").write_text(CONTROL.format(number=number, needs=DEB_NEEDS))
    (tree / "DEBIAN/postinst").write_text(POSTINST)
    (tree / "DEBIAN/postinst").chmod(0o755)
    command = ["dpkg-deb", "--root-owner-group", "-Zgzip", "--build", str(tree), str(path)]
    subprocess.run(command, check=True, capture_output=True)
    shutil.rmtree(tree)
    return path
