import stat
from dataclasses import replace
from pathlib import Path

import pytest

from fleetwide.errors import ArtifactRejected
from fleetwide.providers.layers import LayerEntry, plain_entries
from fleetwide.providers.payload_entries import fitted, folders_to, merged, without_set_ids


@pytest.fixture
def base(tmp_path: Path) -> Path:
    root = tmp_path / "base"
    for folder in ("usr/bin", "usr/lib", "root", "opt"):
        (root / folder).mkdir(parents=True)
    (root / "root").chmod(0o700)
    (root / "bin").symlink_to("usr/bin")
    (root / "lib").symlink_to("/usr/lib")
    (root / "out").symlink_to("../../../../usr/lib")
    (root / "gone").symlink_to("nowhere")
    return root


def staged(tmp_path: Path, *paths: str) -> list[LayerEntry]:
    root = tmp_path / "staging"
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path)
    return plain_entries(root, 1)


def paths(entries: list[LayerEntry]) -> list[str]:
    return sorted(entry.path for entry in entries)


def test_a_folder_that_is_a_link_on_the_base_leads_on(base: Path, tmp_path: Path) -> None:
    entries = staged(tmp_path, "bin/run", "lib/deep/x", "usr/lib/y", "out/z")
    expected = ["usr", "usr/bin", "usr/bin/run", "usr/lib"]
    expected += ["usr/lib/deep", "usr/lib/deep/x", "usr/lib/y", "usr/lib/z"]
    assert paths(fitted(entries, base)) == expected


def test_a_link_to_nowhere_is_replaced(base: Path, tmp_path: Path) -> None:
    assert paths(fitted(staged(tmp_path, "gone/x"), base)) == ["gone", "gone/x"]


def test_a_folder_of_the_base_keeps_its_looks(base: Path, tmp_path: Path) -> None:
    entries = {one.path: one for one in fitted(staged(tmp_path, "root/x", "srv/x"), base)}
    assert stat.S_IMODE(entries["root"].mode) == 0o700
    assert stat.S_IMODE(entries["srv"].mode) == 0o755
    assert entries["root"].mtime == 1


def test_nothing_takes_the_place_of_a_folder_of_the_base(base: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactRejected, match="at /opt, where the base has a folder"):
        fitted(staged(tmp_path, "opt"), base)


def entry(
    path: str, mode: int = stat.S_IFREG | 0o644, source: Path | None = Path("/")
) -> LayerEntry:
    return LayerEntry(path, source, mode)


def test_the_upper_file_and_the_lower_folder_stay() -> None:
    folder = entry("a", stat.S_IFDIR | 0o700)
    below = [folder, entry("a/x"), entry("a/.wh.y", source=None), entry("a/.wh.z", source=None)]
    upper = entry("a/x", stat.S_IFREG | 0o755)
    above = [replace(folder, mode=stat.S_IFDIR | 0o755), upper, entry("a/y")]
    found = merged(below, above)
    assert found[:2] == [folder, upper]
    assert paths(found) == ["a", "a/.wh.z", "a/x", "a/y"]


@pytest.mark.parametrize("kinds", [(stat.S_IFDIR, stat.S_IFREG), (stat.S_IFREG, stat.S_IFDIR)])
def test_a_folder_and_a_file_of_one_name_are_refused(kinds: tuple[int, int]) -> None:
    lower, upper = (entry("a", kind | 0o755) for kind in kinds)
    with pytest.raises(ArtifactRejected, match="both as a folder and as a file"):
        merged([lower], [upper])


def test_setuid_and_setgid_go_from_files_only() -> None:
    entries = [entry("run", stat.S_IFREG | 0o6755), entry("mail", stat.S_IFDIR | 0o2775)]
    assert [stat.S_IMODE(one.mode) for one in without_set_ids(entries)] == [0o755, 0o2775]


def test_the_folders_on_the_way_are_listed(tmp_path: Path) -> None:
    assert paths(folders_to("a/b/c", tmp_path, 1)) == ["a", "a/b"]
