import tempfile
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from fleetwide.errors import BuildFailed, InvalidInput, PlatformError
from fleetwide.models.baseos import Architecture
from fleetwide.models.os_locks import LockedSource
from fleetwide.providers.apt import AptArchive
from fleetwide.providers.progress import no_progress
from tests.integration.os_builds.archive import SUITE, Archive

pytestmark = pytest.mark.integration


def source(archive: Archive, suite: str = SUITE) -> LockedSource:
    return LockedSource(
        url=archive.url, suite=suite, components=["main"], keyring=str(archive.keyring)
    )


def asked(archive: Archive, suite: str = SUITE) -> AptArchive:
    return AptArchive(archive.folder / "apt", Architecture.AMD64, [source(archive, suite)])


def solved(archive: Archive, *wanted: str, exclude: tuple[str, ...] = ()) -> list[str]:
    apt = asked(archive)
    with apt.held(no_progress):
        apt.update(no_progress)
        apt.exclude(exclude)
        return sorted(one.name for one in apt.solve(wanted))


def test_dependencies_come_along(archive: Archive) -> None:
    assert solved(archive, "?essential") == ["tiny-base", "tiny-lib"]
    assert solved(archive, "hello-tool") == ["hello-engine", "hello-tool", "tiny-lib"]


def test_paragraphs_come_unchanged_and_urls_fit_their_digests(archive: Archive) -> None:
    apt = asked(archive)
    with apt.held(no_progress):
        apt.update(no_progress)
        chosen = apt.solve(["hello-tool"])
        stanzas, urls = apt.stanzas(chosen), apt.urls(chosen)
    in_index = archive.paragraphs()
    assert sorted(stanzas) == sorted(in_index[one.name] for one in chosen)
    for one in chosen:
        digest = in_index[one.name].rpartition("SHA256: ")[2]
        assert urls[digest] == f"{archive.url}/pool/{one.name}_{one.version}_amd64.deb"


def test_one_question_tells_all_that_an_installation_fetches(archive: Archive) -> None:
    apt = asked(archive)
    for _ in range(2):
        with apt.held(no_progress):
            apt.update(no_progress)
            chosen = apt.solve(["hello-tool"])
            stanzas, found = apt.stanzas(chosen), apt.downloads(["hello-tool"])
        assert sorted((one.name, one.version) for one in found) == sorted(
            (one.name, one.version) for one in chosen
        )
        for one in found:
            [text] = [text for text in stanzas if f"\nSHA256: {one.sha256}" in text]
            assert f"Package: {one.name}\n" in text
            assert f"\nSize: {one.size}\n" in text
            assert one.url == f"{archive.url}/pool/{one.name}_{one.version}_amd64.deb"


def test_what_cannot_be_fetched_is_told_as_by_a_solution(archive: Archive) -> None:
    apt = asked(archive)
    with apt.held(no_progress):
        apt.update(no_progress)
        with pytest.raises(BuildFailed, match="not-in-any-archive"):
            apt.downloads(["hello-broken"])
        with pytest.raises(InvalidInput, match="nearest: hello-tool"):
            apt.downloads(["helo-tool"])


def test_an_excluded_package_is_gone_around(archive: Archive) -> None:
    found = solved(archive, "hello-tool", exclude=("hello-engine",))
    assert found == ["hello-motor", "hello-tool", "tiny-lib"]


def test_excluding_what_another_package_needs_is_told_in_apt_s_words(archive: Archive) -> None:
    with pytest.raises(BuildFailed, match=r"tiny-lib.*not installable") as caught:
        solved(archive, "hello-tool", exclude=("tiny-lib",))
    assert caught.value.hint == "look at packages and exclude"


def test_packages_that_do_not_go_together_are_told(archive: Archive) -> None:
    with pytest.raises(BuildFailed, match="hello-enemy"):
        solved(archive, "hello-tool", "hello-enemy")
    with pytest.raises(BuildFailed, match="not-in-any-archive"):
        solved(archive, "hello-broken")


def test_an_unknown_package_names_the_nearest(archive: Archive) -> None:
    with pytest.raises(InvalidInput, match=r"helo-tool .*nearest: hello-tool") as caught:
        solved(archive, "helo-tool", "zzzzzz")
    assert "zzzzzz is in none of the suites" in caught.value.message
    assert caught.value.hint == "packages: [hello-tool]"
    assert [fault.field for fault in caught.value.fields] == ["packages"]


def test_an_unknown_suite_is_named(archive: Archive) -> None:
    apt = asked(archive, "tinny")
    with (
        apt.held(no_progress),
        pytest.raises(InvalidInput, match=r"has no such suite.*tinny") as caught,
    ):
        apt.update(no_progress)
    assert archive.url in caught.value.message
    assert caught.value.hint == f"curl -s {archive.url}/dists/"


def test_a_mirror_that_does_not_answer_is_the_platform_s_fault(archive: Archive) -> None:
    archive.url = "http://127.0.0.1:1"
    apt = asked(archive)
    with apt.held(no_progress), pytest.raises(PlatformError, match="could not be read"):
        apt.update(no_progress)


def replaced(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize("what", ["index", "signed", "key"])
def test_what_is_not_signed_is_refused(archive: Archive, what: str) -> None:
    if what == "index":
        replaced(archive.index, "hello-motor_1.0", "hello-rotor_1.0")
    elif what == "signed":
        replaced(archive.in_release, "Origin: Tiny", "Origin: Tidy")
    else:
        # Its own short folder: the path of an agent's socket ends at 107 characters.
        with tempfile.TemporaryDirectory(prefix="fw-stranger-") as folder:
            with closing(Archive(Path(folder))) as stranger:
                archive.keyring.write_bytes(stranger.keyring.read_bytes())
    with pytest.raises(PlatformError, match="index could not be read") as caught:
        solved(archive, "hello-tool")
    reason = {"index": "Hash Sum mismatch", "signed": "is not signed", "key": "is not signed"}[what]
    assert reason in caught.value.message


def test_an_index_that_has_run_out_is_refused(archive: Archive) -> None:
    archive.publish(timedelta(days=-1))
    with pytest.raises(PlatformError, match="expired"):
        solved(archive, "hello-tool")


def test_a_good_index_after_a_bad_one_is_read_again(archive: Archive) -> None:
    good = archive.index.read_bytes()
    replaced(archive.index, "hello-motor_1.0", "hello-rotor_1.0")
    with pytest.raises(PlatformError):
        solved(archive, "hello-tool")
    archive.index.write_bytes(good)
    assert "hello-tool" in solved(archive, "hello-tool")


def test_nothing_of_this_machine_s_apt_comes_in(archive: Archive) -> None:
    apt = asked(archive)
    with apt.held(no_progress):
        apt.update(no_progress)
        names = apt.names()
    assert {"tiny-base", "hello-tool"} <= names
    assert not names & {"bash", "coreutils", "systemd"}
