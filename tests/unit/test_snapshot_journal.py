from pathlib import Path

import pytest

from fleetwide.providers.snapshot_journal import SnapshotJournal, journalled_snapshot


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def written(path: Path) -> SnapshotJournal:
    with SnapshotJournal(path, "upload") as journal:
        journal.started("snap-1")
        journal.note([3, 17])
        journal.note([173])
    return journal


def test_what_was_noted_is_known_again(path: Path) -> None:
    before = written(path)
    with SnapshotJournal(path, "upload") as journal:
        assert (journal.token, journal.snapshot_id) == (before.token, "snap-1")
        assert journal.arrived == {3, 17, 173}
        assert not journal.sealed
        journal.seal()
    with SnapshotJournal(path, "upload") as journal:
        assert journal.sealed


def test_a_torn_line_is_forgotten_and_does_not_spoil_the_next(path: Path) -> None:
    written(path)
    path.write_bytes(path.read_bytes()[:-2])  # leaves 17 of 173
    with SnapshotJournal(path, "upload") as journal:
        assert journal.arrived == {3, 17}
        journal.note([5])
    with SnapshotJournal(path, "upload") as journal:
        assert journal.arrived == {3, 17, 5}


def test_zeros_of_a_power_cut_are_passed_over(path: Path) -> None:
    written(path)
    with path.open("ab") as file:
        file.write(b"\0\0\0\n4\n")
    with SnapshotJournal(path, "upload") as journal:
        assert journal.arrived == {3, 17, 173, 4}


def test_another_upload_starts_anew(path: Path) -> None:
    before = written(path)
    with SnapshotJournal(path, "other") as journal:
        assert journal.token != before.token
        assert (journal.snapshot_id, journal.arrived) == (None, set())
    with SnapshotJournal(path, "other") as again:
        assert again.token == journal.token


def test_restarting_takes_another_token(path: Path) -> None:
    before = written(path)
    with SnapshotJournal(path, "upload") as journal:
        journal.restart()
        assert journal.token != before.token
        journal.note([1])
    with SnapshotJournal(path, "upload") as again:
        assert (again.token, again.snapshot_id, again.arrived) == (journal.token, None, {1})


def test_which_snapshot_a_journal_is_about(path: Path) -> None:
    assert journalled_snapshot(path) is None
    written(path)
    assert journalled_snapshot(path) == "snap-1"
