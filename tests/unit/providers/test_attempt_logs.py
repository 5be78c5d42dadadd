from pathlib import Path

import pytest

from fleetwide.errors import ObjectStoreUnavailable
from fleetwide.providers.attempt_logs import (
    SEGMENT_BYTES,
    LogWriter,
    last_lines,
    read_log,
    tail_lines,
)
from fleetwide.providers.objects import FolderStore


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path)


def whole(store: FolderStore, key: str) -> bytes:
    data, offset = b"", 0
    while True:
        piece, offset = read_log(store, key, offset)
        if not piece:
            return data
        data += piece


def test_a_log_grows_under_its_reader(store: FolderStore) -> None:
    log = LogWriter(store, "logs/a")
    assert read_log(store, "logs/a", 0) == (b"", 0)
    log.write(b"one\n")
    assert read_log(store, "logs/a", 0) == (b"", 0)
    log.flush()
    assert read_log(store, "logs/a", 0) == (b"one\n", 4)
    log.write(b"two\n")
    log.flush()
    assert read_log(store, "logs/a", 4) == (b"two\n", 8)


def test_a_quiet_log_is_not_written_again(store: FolderStore) -> None:
    log = LogWriter(store, "logs/a")
    log.flush()
    assert store.list("logs") == []
    log.write(b"x")
    log.flush()
    store.delete("logs/a/000001.log")
    log.flush()
    assert store.list("logs") == []


def test_full_segments_are_stored_at_once(store: FolderStore) -> None:
    log = LogWriter(store, "logs/a")
    log.write(b"x" * (2 * SEGMENT_BYTES + 10))
    assert [part.size for part in store.list("logs/a/")] == [SEGMENT_BYTES, SEGMENT_BYTES]
    log.flush()
    assert len(whole(store, "logs/a")) == 2 * SEGMENT_BYTES + 10


def test_beyond_the_limit_a_line_says_so(store: FolderStore) -> None:
    log = LogWriter(store, "logs/a", limit=10)
    log.write(b"0123456789")
    assert not log.is_full()
    log.write(b"abc")
    log.write(b"more\n")
    log.flush()
    assert log.is_full()
    assert whole(store, "logs/a") == (
        b"0123456789\n[fleetwide] the log passed 10 bytes; the rest was not kept\n"
    )
    assert log.tail() == ["0123456789abcmore"]


def test_what_could_not_be_stored_is_stored_later(store: FolderStore) -> None:
    class Failing(FolderStore):
        away = True

        def put_bytes(self, key: str, data: bytes) -> None:
            if self.away:
                raise ObjectStoreUnavailable("away")
            super().put_bytes(key, data)

    failing = Failing(store._folder)
    log = LogWriter(failing, "logs/a")
    data = bytes(range(256)) * (SEGMENT_BYTES // 256) + b"end"
    with pytest.raises(ObjectStoreUnavailable):
        log.write(data)
    with pytest.raises(ObjectStoreUnavailable):
        log.flush()
    failing.away = False
    log.flush()
    assert whole(store, "logs/a") == data


def test_the_tail_spans_segments(store: FolderStore) -> None:
    log = LogWriter(store, "logs/a")
    log.write(b"".join(b"line %d\n" % number for number in range(60_000)))
    log.flush()
    assert len(store.list("logs/a/")) > 1
    assert tail_lines(store, "logs/a", 2) == ["line 59998", "line 59999"]
    assert len(tail_lines(store, "logs/a", 50_000)) == 50_000
    assert tail_lines(store, "logs/none", 5) == []


def test_last_lines_are_cut_to_fit_a_history() -> None:
    assert last_lines(b"a\n" + b"x" * 1000 + b"\n\xff\n", 2, 5) == ["xxxxx", "�"]
    assert last_lines(b"a\n", 0) == []
