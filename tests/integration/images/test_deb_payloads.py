"""Debs onto a real base: what is kept, and what becomes of scripts that fail, hang or hide."""

import os
from pathlib import Path

import psutil
import pytest

from fleetwide.errors import (
    ArtifactRejected,
    DependencyUnsatisfied,
    InstallFailed,
    InstallTimedOut,
    WrongArchitecture,
)
from fleetwide.models.bakes import AppliedRecipe, BaseImage, DependencyKind
from fleetwide.providers.base_cache import BaseCache
from fleetwide.providers.progress import no_progress
from fleetwide.providers.script_limits import ScriptLimits
from tests.integration.images.payloads import inputs_of, layer_of, made, make_deb, members

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


@pytest.fixture
def root(base: BaseImage, cache: BaseCache) -> Path:
    return cache.rootfs(base, no_progress)


def marked(marker: str) -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(marker in word for word in process.info["cmdline"] or [])
    ]


def test_a_deb_is_installed_and_only_its_changes_are_kept(
    base: BaseImage, root: Path, tmp_path: Path
) -> None:
    inputs = inputs_of(base, root, ("deb", make_deb(tmp_path, POSTINST), "tool.deb"))
    payload = made(inputs, tmp_path / "w")
    digest = layer_of(payload, tmp_path / "layer.tar")
    found = members(tmp_path / "layer.tar")
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
    assert payload.packages == {"tool": "1.0"}
    assert layer_of(made(inputs, tmp_path / "again"), tmp_path / "again.tar") == digest
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


def test_debs_install_together_with_what_they_need_in_any_order(
    base: BaseImage, root: Path, tmp_path: Path
) -> None:
    tool = make_deb(tmp_path, Pre_Depends="middle")
    middle = make_deb(tmp_path, name="middle", Pre_Depends="under", Depends="beside")
    under, beside = make_deb(tmp_path, name="under"), make_deb(tmp_path, name="beside")
    needed = {
        name: (path, DependencyKind.DEB, name)
        for name, path in (("middle", middle), ("under", under), ("beside", beside))
    }
    digests = set()
    for number, order in enumerate((["middle", "under", "beside"], ["beside", "under", "middle"])):
        dependencies = tuple(needed[name] for name in order)
        inputs = inputs_of(base, root, ("deb", tool, "tool.deb"), dependencies=dependencies)
        payload = made(inputs, tmp_path / f"w{number}")
        digests.add(layer_of(payload, tmp_path / f"{number}.tar"))
        assert set(payload.packages) == {"tool", "middle", "under", "beside"}
    assert len(digests) == 1


def test_hardening_takes_setuid_bits_off(base: BaseImage, root: Path, tmp_path: Path) -> None:
    recipe = AppliedRecipe(reference="hard:1", drop_setuid=True)
    deb = make_deb(tmp_path, POSTINST)
    inputs = inputs_of(base, root, ("deb", deb, "tool.deb"), recipe=recipe)
    layer_of(made(inputs, tmp_path / "w"), tmp_path / "layer.tar")
    assert members(tmp_path / "layer.tar")["usr/lib/tool/run"].mode == 0o755


def test_a_script_that_fails_is_told_with_its_last_lines(
    base: BaseImage, root: Path, tmp_path: Path
) -> None:
    deb = make_deb(tmp_path, "#!/bin/sh\necho no database here >&2\nexit 7\n")
    with pytest.raises(InstallFailed, match="no database here") as caught:
        made(inputs_of(base, root, ("deb", deb, "tool.deb")), tmp_path / "w")
    assert "exit status 7" in caught.value.message


def test_a_script_that_hangs_is_ended_with_all_that_it_started(
    base: BaseImage, root: Path, tmp_path: Path
) -> None:
    marker = f"hangs-{os.getpid()}"
    daemon = f"trap '' HUP TERM INT; while :; do sleep 1; : {marker}; done"
    deb = make_deb(tmp_path, f'#!/bin/sh\n(exec sh -c "{daemon}") &\nsh -c "{daemon}"\n')
    inputs = inputs_of(base, root, ("deb", deb, "tool.deb"), limits=ScriptLimits(seconds=3))
    with pytest.raises(InstallTimedOut, match=r"within 3 seconds; last seen: Setting up tool"):
        made(inputs, tmp_path / "w")
    assert marked(marker) == []
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


class Cancelled(Exception):
    pass


def test_cancel_ends_a_script_and_what_it_started(
    base: BaseImage, root: Path, tmp_path: Path
) -> None:
    marker = f"cancelled-{os.getpid()}"
    deb = make_deb(tmp_path, f'#!/bin/sh\nsh -c "while :; do sleep 1; : {marker}; done"\n')

    def cancel(_phrase: str, _fraction: float | None) -> None:
        if marked(marker):
            raise Cancelled

    with pytest.raises(Cancelled):
        made(inputs_of(base, root, ("deb", deb, "tool.deb")), tmp_path / "w", cancel)
    assert marked(marker) == []


def test_a_missing_dependency_is_told_in_dpkg_s_words(
    base: BaseImage, root: Path, tmp_path: Path
) -> None:
    deb = make_deb(tmp_path, Depends="libnowhere1 (>= 2)")
    with pytest.raises(DependencyUnsatisfied, match=r"tool depends on libnowhere1 \(>= 2\)"):
        made(inputs_of(base, root, ("deb", deb, "tool.deb")), tmp_path / "w")


def test_a_deb_of_another_architecture_is_refused(
    base: BaseImage, root: Path, tmp_path: Path
) -> None:
    deb = make_deb(tmp_path, Architecture="s390x")
    with pytest.raises(WrongArchitecture, match=r"my-tool\.deb is built for s390x"):
        made(inputs_of(base, root, ("deb", deb, "my-tool.deb")), tmp_path / "w")


def test_a_damaged_deb_is_refused(base: BaseImage, root: Path, tmp_path: Path) -> None:
    whole = make_deb(tmp_path).read_bytes()
    for number, data in enumerate((whole[:100], whole[:-200], b"!<arch>\n" + bytes(500))):
        broken = tmp_path / f"broken-{number}.deb"
        broken.write_bytes(data)
        with pytest.raises(ArtifactRejected):
            made(inputs_of(base, root, ("deb", broken, "x.deb")), tmp_path / f"w{number}")


def test_a_script_cannot_reach_the_base_or_the_builder(
    base: BaseImage, root: Path, tmp_path: Path
) -> None:
    deb = make_deb(
        tmp_path, f"#!/bin/sh\necho x > /etc/evil; ls {tmp_path} /home /root/.ssh; true\n"
    )
    before = sorted(path.name for path in (root / "etc").iterdir())
    payload = made(inputs_of(base, root, ("deb", deb, "tool.deb")), tmp_path / "w")
    assert "etc/evil" in {entry.path for entry in payload.entries}
    assert sorted(path.name for path in (root / "etc").iterdir()) == before
