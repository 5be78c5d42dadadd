import hashlib
import subprocess
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fleetwide.errors import ArtifactRejected
from fleetwide.models.bakery import BaseImage, ResolvedBake
from fleetwide.providers.base_cache import BaseCache
from fleetwide.providers.distribution import RegistryClient
from fleetwide.providers.images import LayerInputs, build_layer, push_image
from fleetwide.providers.progress import no_progress
from fleetwide.registry.references import ImageReference
from tests.unit.bakes import resolved
from tests.unit.test_wheels import make_wheel

pytestmark = pytest.mark.integration

POSTINST = """#!/bin/sh
set -e
/usr/sbin/policy-rc.d && exit 9 || [ $? -eq 101 ]
! cat /proc/net/dev | grep -q eth
! mknod /usr/lib/node c 1 3 2>/dev/null
! (echo x > /proc/sys/kernel/domainname) 2>/dev/null
ldconfig
rm /usr/share/base-files/motd
rm -r /usr/share/debianutils && mkdir /usr/share/debianutils && echo new > /usr/share/debianutils/x
chmod u+s /usr/lib/tool/run
touch /etc/debian_version /var/log/tool.log
echo state > /var/lib/tool-state
date > /run/now
"""


def make_deb(folder: Path, *, depends: str = "", architecture: str = "all") -> Path:
    tree = folder / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "usr/lib/tool").mkdir(parents=True)
    (tree / "usr/lib/tool/run").write_text("#!/bin/sh\necho tool\n")
    (tree / "usr/lib/tool/run").chmod(0o755)
    control = ["Package: tool", "Version: 1.0", f"Architecture: {architecture}"]
    control += ["Maintainer: Nobody <nobody@example.org>", "Description: a tool"]
    control += [f"Depends: {depends}"] if depends else []
    (tree / "DEBIAN/control").write_text("\n".join(control) + "\n")
    (tree / "DEBIAN/postinst").write_text(POSTINST)
    (tree / "DEBIAN/postinst").chmod(0o755)
    target = folder / "tool.deb"
    command = ["dpkg-deb", "--root-owner-group", "--build", str(tree), str(target)]
    subprocess.run(command, check=True, capture_output=True)
    return target


def bake_of(base: BaseImage, kind: str, *files: tuple[Path, str]) -> ResolvedBake:
    artifacts = [
        {"type": kind, "filename": name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for path, name in files
    ]
    return resolved(base, artifacts=artifacts, name=f"{kind}-app")


def layer_of(path: Path) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(path) as archive:
        return {member.name: member for member in archive}


def test_a_tarball_becomes_an_image_and_the_same_one_again(
    base: BaseImage, cache: BaseCache, client: RegistryClient, tmp_path: Path
) -> None:
    (tmp_path / "run").write_text("#!/bin/sh\n")
    source = tmp_path / "app.tar.gz"
    with tarfile.open(source, "w:gz") as archive:
        archive.add(tmp_path / "run", "bin/run")
    bake = bake_of(base, "tarball", (source, "app.tar.gz"))
    inputs = LayerInputs(bake, [source], cache.rootfs)
    pushed = []
    for number in range(2):
        packed = build_layer(inputs, tmp_path / f"w{number}", no_progress)
        pushed.append(push_image(client, bake, packed))
    assert pushed[0] == pushed[1]
    reference = ImageReference("apps/tarball-app", tag="1.0.0")
    assert client.resolve(reference) == pushed[0].digest
    manifest = client.get_manifest(reference).json()
    assert manifest["layers"][0]["digest"] == base.layer.digest
    assert sum(layer["size"] for layer in manifest["layers"]) == pushed[0].size
    config = client.get_blob_json("apps/tarball-app", manifest["config"]["digest"])
    assert [step["created_by"] for step in config["history"]] == [
        "OSImageBuild tiny 20261122.1",
        "Bake tarball-app 1.0.0",
    ]


def test_a_wheel_runs_on_the_base(base: BaseImage, cache: BaseCache, tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, files={"app/__init__.py": b"def main(): print('it runs')\n"})
    bake = bake_of(base, "wheel", (wheel.path, wheel.name))
    inputs = LayerInputs(bake, [wheel.path], cache.rootfs)
    packed = build_layer(inputs, tmp_path / "w", no_progress)
    root = tmp_path / "root"
    subprocess.run(["cp", "-a", cache.rootfs(base, no_progress), root], check=True)
    subprocess.run(["tar", "xzf", packed.path, "-C", root], check=True)
    ran = subprocess.run(
        ["chroot", root, "/usr/local/bin/app-run"], capture_output=True, text=True, check=True
    )
    assert ran.stdout == "it runs\n"
    assert build_layer(inputs, tmp_path / "w", no_progress).layer == packed.layer


def test_a_deb_is_installed_and_only_its_changes_are_kept(
    base: BaseImage, cache: BaseCache, tmp_path: Path
) -> None:
    deb = make_deb(tmp_path)
    inputs = LayerInputs(bake_of(base, "deb", (deb, "tool.deb")), [deb], cache.rootfs)
    packed = build_layer(inputs, tmp_path / "w", no_progress)
    found = layer_of(packed.path)
    assert found["usr/lib/tool/run"].mode == 0o4755
    assert found["var/lib/tool-state"].mtime == base.created_epoch
    assert "var/lib/dpkg/status" in found
    assert "usr/share/base-files/.wh.motd" in found
    assert "usr/share/debianutils/.wh..wh..opq" in found
    # Copied up but not changed, transient, or put there by the builder.
    left_out = ["etc/debian_version", "var/log/tool.log", "run/now", "usr/sbin/policy-rc.d"]
    left_out += [".fleetwide", "dev/null", "var/lib/dpkg/lock", "var/cache/ldconfig/aux-cache"]
    assert [name for name in left_out if name in found] == []
    parents = {str(Path(name).parent) for name in found} - {"."}
    assert parents <= found.keys()
    again = build_layer(inputs, tmp_path / "w", no_progress)
    assert again.layer == packed.layer
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


def test_a_missing_dependency_is_told_in_dpkg_s_words(
    base: BaseImage, cache: BaseCache, tmp_path: Path
) -> None:
    deb = make_deb(tmp_path, depends="libnowhere1 (>= 2)")
    inputs = LayerInputs(bake_of(base, "deb", (deb, "tool.deb")), [deb], cache.rootfs)
    with pytest.raises(ArtifactRejected, match=r"tool depends on libnowhere1 \(>= 2\)"):
        build_layer(inputs, tmp_path / "w", no_progress)
    assert not (tmp_path / "w").exists()


def test_a_deb_of_another_architecture_is_refused(
    base: BaseImage, cache: BaseCache, tmp_path: Path
) -> None:
    deb = make_deb(tmp_path, architecture="s390x")
    inputs = LayerInputs(bake_of(base, "deb", (deb, "tool.deb")), [deb], cache.rootfs)
    with pytest.raises(ArtifactRejected, match="s390x"):
        build_layer(inputs, tmp_path / "w", no_progress)


def test_a_base_is_fetched_once_by_many_at_a_time(
    base: BaseImage, client: RegistryClient, tmp_path: Path
) -> None:
    phrases: list[str] = []

    def fetch(_number: int) -> Path:
        caches = BaseCache(tmp_path, client)
        return caches.rootfs(base, lambda phrase, _fraction: phrases.append(phrase))

    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(fetch, range(4)))
    (ready,) = found
    assert (ready / "var/lib/dpkg/status").is_file()
    assert [one.name for one in tmp_path.iterdir() if one.is_dir()] == [ready.name]
    assert phrases.count("unpacking the base") >= 1


class Cancelled(Exception):
    pass


def test_a_cancelled_fetch_leaves_no_part_of_a_base(
    base: BaseImage, client: RegistryClient, tmp_path: Path
) -> None:
    def stop(phrase: str, _fraction: float | None) -> None:
        if phrase == "unpacking the base":
            raise Cancelled

    with pytest.raises(Cancelled):
        BaseCache(tmp_path, client).rootfs(base, stop)
    assert [one for one in tmp_path.iterdir() if one.is_dir()] == []
