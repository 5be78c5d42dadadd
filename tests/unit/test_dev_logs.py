"""Reading log files while they grow and rotate."""

from pathlib import Path

from fleetwide.dev.logs import Follower, tail


def test_tail_gives_the_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(b"one\ntwo\nbad \xff\nlast")
    assert tail(log, 2) == ["bad \N{REPLACEMENT CHARACTER}", "last"]
    assert tail(log, 0) == []
    assert tail(tmp_path / "none.log", 5) == []


def test_following_starts_at_the_end_and_gives_whole_lines(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("old\n")
    follower = Follower(log)
    with log.open("a") as file:
        file.write("new\nhal")
    assert follower.lines() == ["new"]
    with log.open("a") as file:
        file.write("f\n")
    assert follower.lines() == ["half"]
    follower.close()


def test_following_goes_on_after_rotation(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("")
    follower = Follower(log)
    with log.open("a") as file:
        file.write("before\n")
    log.rename(tmp_path / "a.log.1")
    log.write_text("after\n")
    assert follower.lines() == ["before", "after"]
    follower.close()


def test_a_log_that_comes_later_is_read_from_its_start(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    follower = Follower(log)
    assert follower.lines() == []
    log.write_text("first\n")
    assert follower.lines() == ["first"]
    follower.close()
