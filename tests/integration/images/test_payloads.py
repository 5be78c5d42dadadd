"""Every kind of artifact but debs onto a real base, and what cannot be an artifact."""

import hashlib
import io
import json
import shutil
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from fleetwide.errors import (
    ArtifactRejected,
    BuildFailed,
    DependencyUnsatisfied,
    ImageNotFound,
    InstallTimedOut,
    InvalidInput,
    WrongArchitecture,
)
from fleetwide.models.bakery import Artifact, ArtifactType
from fleetwide.models.bakes import AppliedRecipe, BaseImage, DependencyKind
from fleetwide.models.baseos import FileSpec, Target
from fleetwide.providers.base_cache import BaseCache
from fleetwide.providers.distribution import RegistryClient
from fleetwide.providers.named_files import NamedFile
from fleetwide.providers.payload_images import fetch_image
from fleetwide.providers.payloads import APP_EPOCH
from fleetwide.providers.progress import no_progress
from fleetwide.providers.script_limits import ScriptLimits
from fleetwide.registry.oci import INDEX_TYPE, MANIFEST_TYPE
from fleetwide.registry.references import ImageReference
from tests.integration.images.payloads import (
    inputs_of,
    layer_of,
    made,
    make_deb,
    members,
    rooted,
)
from tests.unit.test_bakery_binaries import elf
from tests.unit.test_wheels import make_wheel

pytestmark = pytest.mark.integration


@pytest.fixture
def root(base: BaseImage, cache: BaseCache) -> Path:
    return cache.rootfs(base, no_progress)


def make_tarball(folder: Path) -> Path:
    (folder / "run").write_text("#!/bin/sh\necho it runs\n")
    (folder / "run").chmod(0o755)
    source = folder / "app.tar.gz"
    with tarfile.open(source, "w:gz") as archive:
        archive.add(folder / "run", "bin/run")
    return source


def make_zip(folder: Path) -> Path:
    source = folder / "app.zip"
    with zipfile.ZipFile(source, "w") as archive:
        archive.write(make_tarball(folder).with_name("run"), "bin/run")
    return source


@pytest.mark.parametrize(("kind", "make"), [("tarball", make_tarball), ("zip", make_zip)])
def test_an_archive_runs_and_its_layer_is_the_same_on_every_base(
    base: BaseImage, root: Path, tmp_path: Path, kind: str, make: object
) -> None:
    source = make(tmp_path)  # type: ignore[operator]
    digests = set()
    newer = base.model_copy(update={"created_epoch": base.created_epoch + 1000})
    for number, one in enumerate((base, base, newer)):
        payload = made(inputs_of(one, root, (kind, source, source.name)), tmp_path / f"w{number}")
        digests.add(layer_of(payload, tmp_path / f"{number}.tar"))
    assert len(digests) == 1
    assert {one.mtime for one in members(tmp_path / "0.tar").values()} == {APP_EPOCH}
    run = rooted(root, tmp_path / "0.tar", tmp_path / "root", "/opt/app/bin/run")
    assert run == "it runs\n"


def test_binaries_are_put_where_programs_are(base: BaseImage, root: Path, tmp_path: Path) -> None:
    shutil.copy("/bin/true", tmp_path / "one")
    (tmp_path / "two").write_text("#!/bin/sh\necho two\n")
    given = [("binary", tmp_path / name, name) for name in ("one", "two")]
    payload = made(inputs_of(base, root, *given), tmp_path / "w")
    layer_of(payload, tmp_path / "layer.tar")
    found = members(tmp_path / "layer.tar")
    assert list(found) == ["opt", "opt/app", "opt/app/bin", "opt/app/bin/one", "opt/app/bin/two"]
    assert {one.mode for one in found.values()} == {0o755}
    assert rooted(root, tmp_path / "layer.tar", tmp_path / "r", "/opt/app/bin/two") == "two\n"


def test_a_binary_for_other_machines_is_refused(
    base: BaseImage, root: Path, tmp_path: Path
) -> None:
    (tmp_path / "run").write_bytes(elf(183))
    with pytest.raises(WrongArchitecture, match="run is built for arm64"):
        made(inputs_of(base, root, ("binary", tmp_path / "run", "run")), tmp_path / "w")


def test_a_wheel_runs_with_its_dependency(base: BaseImage, root: Path, tmp_path: Path) -> None:
    files = {"app/__init__.py": b"import lib\ndef main(): print(lib.WORD)\n"}
    app = make_wheel(tmp_path, files=files, extra="Requires-Dist: lib\n")
    lib = make_wheel(tmp_path, "lib", files={"lib/__init__.py": b"WORD = 'it runs'\n"})
    spare = make_wheel(tmp_path, "spare")
    dependencies = tuple(
        (renamed(wheel), DependencyKind.WHEEL, name)
        for name, wheel in (("spare", spare), ("lib", lib))
    )
    inputs = inputs_of(base, root, ("wheel", app.path, app.name), dependencies=dependencies)
    payload = made(inputs, tmp_path / "w")
    assert (payload.packages, payload.python) == ({"app": "1.0", "lib": "1.0"}, "3.11")
    digest = layer_of(payload, tmp_path / "layer.tar")
    assert layer_of(made(inputs, tmp_path / "w2"), tmp_path / "again.tar") == digest
    run = rooted(root, tmp_path / "layer.tar", tmp_path / "root", "/usr/local/bin/app-run")
    assert run == "it runs\n"


def renamed(wheel: NamedFile) -> Path:
    return wheel.path.rename(wheel.path.with_name(wheel.name))


def test_a_requirement_that_nobody_brings_is_named(
    base: BaseImage, root: Path, tmp_path: Path
) -> None:
    app = make_wheel(tmp_path, extra="Requires-Dist: lib>=2\n")
    lib = make_wheel(tmp_path, "lib")
    given = [("wheel", one.path, one.name) for one in (app, lib)]
    with pytest.raises(DependencyUnsatisfied, match=r"app 1\.0 needs lib>=2 \(the bake has 1\.0"):
        made(inputs_of(base, root, *given), tmp_path / "w")


# The least of Pythons has no zipfile that works: the backend writes a wheel by itself.
BACKEND = """
import base64, hashlib, os, struct, zlib
FILES = {
    "app.py": "def main(): print('built here')\\n",
    "app-1.0.dist-info/METADATA": "Metadata-Version: 2.1\\nName: app\\nVersion: 1.0\\n",
    "app-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    "app-1.0.dist-info/entry_points.txt": "[console_scripts]\\napp-run = app:main\\n",
}
def line(name, text):
    digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(text)}"
def build_wheel(folder, settings=None, metadata=None):
    record = "\\n".join([line(*pair) for pair in FILES.items()] + ["app-1.0.dist-info/RECORD,,"])
    body, directory = b"", b""
    for name, text in {**FILES, "app-1.0.dist-info/RECORD": record}.items():
        data, place = text.encode(), len(body)
        facts = struct.pack("<HHHHHLLLHH", 20, 0, 0, 0, 33, zlib.crc32(data), len(data), len(data), len(name), 0)
        body += b"PK\\3\\4" + facts + name.encode() + data
        directory += b"PK\\1\\2\\x14\\0" + facts + struct.pack("<HHHLL", 0, 0, 0, 0, place) + name.encode()
    end = struct.pack("<HHHHLLH", 0, 0, len(FILES) + 1, len(FILES) + 1, len(directory), len(body), 0)
    with open(os.path.join(folder, "app-1.0-py3-none-any.whl"), "wb") as wheel:
        wheel.write(body + directory + b"PK\\5\\6" + end)
    return "app-1.0-py3-none-any.whl"
"""
LINKING = """
import os
def build_wheel(folder, *_):
    os.symlink("/etc/passwd", folder + "/app-1.0-py3-none-any.whl")
    return "app-1.0-py3-none-any.whl"
"""
PYPROJECT = "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['tools']\n"


def make_sdist(folder: Path, backend: str, pyproject: str = PYPROJECT) -> Path:
    source = folder / "app.file"
    texts = {
        "PKG-INFO": "Metadata-Version: 2.1\nName: app\nVersion: 1.0\n",
        "pyproject.toml": pyproject,
        "tools/backend.py": backend,
    }
    with tarfile.open(source, "w:gz") as archive:
        for name, text in texts.items():
            info = tarfile.TarInfo(f"app-1.0/{name}")
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))
    return source


def test_an_sdist_is_built_on_the_base_and_runs(
    base: BaseImage, root: Path, tmp_path: Path
) -> None:
    source = make_sdist(tmp_path, BACKEND)
    inputs = inputs_of(base, root, ("sdist", source, "app-1.0.tar.gz"))
    payload = made(inputs, tmp_path / "w")
    assert payload.packages == {"app": "1.0"}
    digest = layer_of(payload, tmp_path / "layer.tar")
    assert layer_of(made(inputs, tmp_path / "w2"), tmp_path / "again.tar") == digest
    run = rooted(root, tmp_path / "layer.tar", tmp_path / "root", "/usr/local/bin/app-run")
    assert run == "built here\n"


@pytest.mark.parametrize(
    ("backend", "told"),
    [
        ("def build_wheel(*_): raise SystemExit('no compiler here')", "no compiler here"),
        ("import not_there", "No module named 'not_there'"),
        ("def build_wheel(*_): return 'app-1.0-py3-none-any.whl'", "made no wheel"),
        (
            LINKING,
            "made no wheel",
        ),
    ],
)
def test_an_sdist_that_cannot_be_built_says_why(
    base: BaseImage, root: Path, tmp_path: Path, backend: str, told: str
) -> None:
    source = make_sdist(tmp_path, backend)
    with pytest.raises(BuildFailed, match=told):
        made(inputs_of(base, root, ("sdist", source, "app-1.0.tar.gz")), tmp_path / "w")


def test_a_build_that_hangs_is_ended(base: BaseImage, root: Path, tmp_path: Path) -> None:
    source = make_sdist(tmp_path, "import time\nwhile True: time.sleep(1)\n")
    given = ("sdist", source, "app-1.0.tar.gz")
    with pytest.raises(InstallTimedOut, match=r"build of app-1\.0\.tar\.gz did not end within 2"):
        made(inputs_of(base, root, given, limits=ScriptLimits(seconds=2)), tmp_path / "w")


def test_an_sdist_under_another_name_is_refused(
    base: BaseImage, root: Path, tmp_path: Path
) -> None:
    source = make_sdist(tmp_path, BACKEND)
    for name in ("other-1.0.tar.gz", "app-2.0.tar.gz", "app.tar.gz"):
        with pytest.raises(ArtifactRejected, match=name):
            made(inputs_of(base, root, ("sdist", source, name)), tmp_path / name)


def test_packages_come_along_with_any_artifact(base: BaseImage, root: Path, tmp_path: Path) -> None:
    deb = make_deb(tmp_path, "#!/bin/sh\nmkdir -p /opt/app && echo deb > /opt/app/from-deb\n")
    source = make_tarball(tmp_path)
    inputs = inputs_of(
        base,
        root,
        ("tarball", source, "app.tar.gz"),
        dependencies=((deb, DependencyKind.DEB, "tool"),),
    )
    payload = made(inputs, tmp_path / "w")
    layer_of(payload, tmp_path / "layer.tar")
    found = members(tmp_path / "layer.tar")
    assert {"opt/app/bin/run", "opt/app/from-deb", "var/lib/dpkg/status"} <= found.keys()
    assert payload.packages == {"tool": "1.0"}


def test_the_files_of_a_recipe_are_put_beside(base: BaseImage, root: Path, tmp_path: Path) -> None:
    files = [
        FileSpec(path="/etc/app/conf", content="naïve\n", mode="0640", owner="root:adm"),
        FileSpec(path="/bin/app-link", link="/opt/app/bin/run"),
        FileSpec(path="/root/.apprc", content=""),
        FileSpec(path="/etc/only-vm", content="", targets=[Target.VM]),
    ]
    recipe = AppliedRecipe(reference="web:1", files=files)
    given = ("tarball", make_tarball(tmp_path), "app.tar.gz")
    layer_of(made(inputs_of(base, root, given, recipe=recipe), tmp_path / "w"), tmp_path / "l.tar")
    found = members(tmp_path / "l.tar")
    conf = found["etc/app/conf"]
    assert (conf.mode, conf.uid, conf.gid, conf.mtime) == (0o640, 0, 4, APP_EPOCH)
    # The base has /bin as a link to /usr/bin, and keeps /root to itself.
    assert "bin" not in found
    assert found["usr/bin/app-link"].linkname == "/opt/app/bin/run"
    assert found["root"].mode == 0o700
    assert "etc/only-vm" not in found
    vm = made(inputs_of(base, root, given, recipe=recipe, target=Target.VM), tmp_path / "vm")
    assert "etc/only-vm" in {entry.path for entry in vm.entries}


def test_a_recipe_s_owner_must_exist(base: BaseImage, root: Path, tmp_path: Path) -> None:
    file = FileSpec(path="/etc/x", content="", owner="nobody-here")
    recipe = AppliedRecipe(reference="web:1", files=[file])
    given = ("tarball", make_tarball(tmp_path), "app.tar.gz")
    with pytest.raises(InvalidInput, match=r"files\.0\.owner"):
        made(inputs_of(base, root, given, recipe=recipe), tmp_path / "w")


Member = tuple[str, bytes, dict[str, object]]


def image_of(
    client: RegistryClient, folder: Path, *layers: list[Member], architecture: str = "amd64"
) -> str:
    """Push an image made of such layers; answers its digest."""
    blobs = []
    for number, content in enumerate(layers):
        path = folder / f"layer-{number}.tar.gz"
        with tarfile.open(path, "w:gz") as archive:
            for name, data, fields in content:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                for key, value in fields.items():
                    setattr(info, key, value)
                archive.addfile(info, io.BytesIO(data))
        blobs.append((path.read_bytes(), "application/vnd.oci.image.layer.v1.tar+gzip"))
    config = json.dumps({"architecture": architecture, "os": "linux"}).encode()
    described = [described_blob(client, *blob) for blob in blobs]
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": described_blob(client, config, "application/vnd.oci.image.config.v1+json"),
        "layers": described,
    }
    return pushed(client, manifest, MANIFEST_TYPE)


def described_blob(client: RegistryClient, data: bytes, media_type: str) -> dict[str, object]:
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    client.upload_blob("apps/payload", data, digest)
    return {"mediaType": media_type, "digest": digest, "size": len(data)}


def pushed(client: RegistryClient, document: dict[str, object], media_type: str) -> str:
    data = json.dumps(document).encode()
    reference = ImageReference("apps/payload", tag="test")
    return client.put_manifest(reference, data, media_type)


def fetched(client: RegistryClient, digest: str, target: Path) -> Path:
    artifact = Artifact(
        type=ArtifactType.IMAGE,
        sha256=digest.removeprefix("sha256:"),
        filename="payload",
        repository="apps/payload",
    )
    fetch_image(client, artifact, "amd64", target, no_progress)
    return target


DIR, SYM, HARD = ({"type": kind} for kind in (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE))


def test_the_layers_of_an_image_are_flattened(
    base: BaseImage, root: Path, client: RegistryClient, tmp_path: Path
) -> None:
    digest = image_of(
        client,
        tmp_path,
        [
            ("srv", b"", {**DIR, "mode": 0o2775, "gid": 50}),
            ("srv/old", b"1", {}),
            ("srv/keep", b"2", {"mode": 0o4755, "uid": 7, "mtime": 99}),
            ("data/a/b", b"3", {}),
            ("data/c", b"4", {}),
        ],
        [
            ("srv/.wh.old", b"", {}),
            ("srv/twin", b"", {**HARD, "linkname": "srv/keep"}),
            ("data/.wh..wh..opq", b"", {}),
            ("data/new", b"5", {}),
            ("bin/tool", b"6", {"mode": 0o755}),
            ("srv/etc", b"", {**SYM, "linkname": "/etc"}),
        ],
    )
    folder = fetched(client, digest, tmp_path / "image")
    payload = made(inputs_of(base, root, ("image", folder, "payload")), tmp_path / "w")
    layer_of(payload, tmp_path / "layer.tar")
    found = members(tmp_path / "layer.tar")
    assert {name for name, one in found.items() if not one.isdir()} == {
        "srv/keep",
        "srv/twin",
        "srv/etc",
        "data/new",
        "usr/bin/tool",
    }
    keep = found["srv/keep"]
    assert (keep.mode, keep.uid, keep.mtime) == (0o4755, 7, 99)
    assert found["srv/twin"].linkname == "srv/keep"
    # A folder that the base has stays as the base has it.
    assert found["srv"].mode == stat.S_IMODE((root / "srv").stat().st_mode)
    assert (root / "etc").is_dir()


def test_an_image_for_other_machines_is_refused(client: RegistryClient, tmp_path: Path) -> None:
    digest = image_of(client, tmp_path, [("a", b"", {})], architecture="arm64")
    with pytest.raises(WrongArchitecture, match=r"payload is built for linux/arm64"):
        fetched(client, digest, tmp_path / "image")
    assert not (tmp_path / "image").exists()


def test_of_an_index_the_base_s_machines_are_taken(client: RegistryClient, tmp_path: Path) -> None:
    entries = []
    for architecture in ("arm64", "amd64"):
        digest = image_of(client, tmp_path, [(architecture, b"", {})], architecture=architecture)
        size = len(client.get_manifest(ImageReference("apps/payload", digest=digest)).data)
        platform = {"os": "linux", "architecture": architecture}
        entry = {"mediaType": MANIFEST_TYPE, "digest": digest, "size": size, "platform": platform}
        entries.append(entry)
    index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": entries}
    folder = fetched(client, pushed(client, index, INDEX_TYPE), tmp_path / "image")
    [layer] = json.loads((folder / "manifest.json").read_text())["layers"]
    with tarfile.open(folder / layer["digest"].removeprefix("sha256:")) as archive:
        assert archive.getnames() == ["amd64"]
    other = {**index, "manifests": entries[:1]}
    with pytest.raises(WrongArchitecture, match="built for arm64, the base is amd64"):
        fetched(client, pushed(client, other, INDEX_TYPE), tmp_path / "other")


def test_an_image_that_is_not_there_is_told(client: RegistryClient, tmp_path: Path) -> None:
    with pytest.raises(ImageNotFound):
        fetched(client, "sha256:" + "1" * 64, tmp_path / "image")


@pytest.mark.parametrize(
    "layer",
    [
        [("/etc/passwd", b"x", {})],
        [("../out", b"x", {})],
        [("a/../../.wh.out", b"", {})],
        [("link", b"", {**SYM, "linkname": "/etc"}), ("link/passwd", b"x", {})],
        [("twin", b"", {**HARD, "linkname": "../../etc/passwd"})],
        [("twin", b"", {**HARD, "linkname": "/etc/passwd"})],
        [("node", b"", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3})],
        [("etc", b"no folder", {})],
        [("usr", b"", {**SYM, "linkname": "/opt"})],
    ],
)
def test_an_unsafe_image_is_refused(
    base: BaseImage, root: Path, client: RegistryClient, tmp_path: Path, layer: list[Member]
) -> None:
    folder = fetched(client, image_of(client, tmp_path, layer), tmp_path / "image")
    with pytest.raises(ArtifactRejected):
        made(inputs_of(base, root, ("image", folder, "payload")), tmp_path / "w")


def test_a_deletion_through_a_link_deletes_nothing(
    base: BaseImage, root: Path, client: RegistryClient, tmp_path: Path
) -> None:
    canary = tmp_path / "outside/canary"
    canary.parent.mkdir()
    canary.write_text("of the builder")
    first: list[Member] = [("link", b"", {**SYM, "linkname": str(canary.parent)})]
    second: list[Member] = [("link/.wh.canary", b"", {})]
    folder = fetched(client, image_of(client, tmp_path, first, second), tmp_path / "image")
    with pytest.raises(ArtifactRejected, match="through a link"):
        made(inputs_of(base, root, ("image", folder, "payload")), tmp_path / "w")
    assert canary.read_text() == "of the builder"
