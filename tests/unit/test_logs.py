import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from fleetwide.errors import InvalidInput
from fleetwide.logs import bind, configure_logging, unbind
from fleetwide.settings import LogFormat, Settings


@pytest.fixture(autouse=True)
def logging_restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    unbind()
    structlog.reset_defaults()


def json_lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    captured = capsys.readouterr()
    assert captured.out == ""
    return [json.loads(line) for line in captured.err.splitlines()]


def test_both_kinds_of_logger_share_one_shape(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(log_format=LogFormat.JSON), "worker-host")
    bind(workflow_id="task/1", run_id="r")
    structlog.get_logger("ours").info("started", container="c1")
    logging.getLogger("temporalio").warning("polled %d times", 3)
    ours, theirs = json_lines(capsys)
    assert ours["event"] == "started"
    assert ours["container"] == "c1"
    assert theirs["event"] == "polled 3 times"
    for line in (ours, theirs):
        assert line["service"] == "worker-host"
        assert (line["workflow_id"], line["run_id"]) == ("task/1", "r")
        assert {"timestamp", "level", "logger"} <= set(line)


def test_exceptions_are_part_of_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(log_format=LogFormat.JSON), "api")
    try:
        int("broken")
    except ValueError:
        logging.getLogger("x").exception("failed")
    (line,) = json_lines(capsys)
    assert "invalid literal" in str(line["exception"])


def test_the_level_is_kept_and_ids_are_forgotten(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(log_format=LogFormat.JSON, log_level="warning"), "api")
    bind(task="t")
    unbind()
    structlog.get_logger("x").info("not this")
    structlog.get_logger("x").warning("this")
    (line,) = json_lines(capsys)
    assert line["event"] == "this"
    assert "task" not in line


def test_lines_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(), "api")
    # No logger of a real library: a server of another test may have made it quiet.
    logging.getLogger("a.library").info("listening on %s", "8300")
    shown = capsys.readouterr().err
    assert "listening on 8300" in shown
    assert "api" in shown


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(InvalidInput, match="log_level"):
        configure_logging(Settings(log_level="LOUD"), "api")
