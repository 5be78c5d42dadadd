from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from fleetwide.providers import attempt_logs
from fleetwide.providers.attempt_logs import LogWriter, read_log
from fleetwide.providers.objects import FolderStore

pieces = st.lists(st.binary(min_size=1, max_size=40), max_size=20)


def write_all(log: LogWriter, data: list[bytes], flush_every: int) -> None:
    for number, piece in enumerate(data, start=1):
        log.write(piece)
        if number % flush_every == 0:
            log.flush()


@settings(deadline=None)
@given(before=pieces, after=pieces, every=st.integers(1, 5), again=st.integers(1, 5))
def test_a_restarted_writer_neither_loses_nor_doubles(
    before: list[bytes], after: list[bytes], every: int, again: int
) -> None:
    log = b"".join(before + after)
    with TemporaryDirectory() as folder, patch.object(attempt_logs, "SEGMENT_BYTES", 16):
        store = FolderStore(Path(folder))
        write_all(LogWriter(store, "logs/a"), before, every)
        second = LogWriter(store, "logs/a")
        write_all(second, [log[at : at + 7] for at in range(0, len(log), 7)], again)
        second.flush()
        read, offset = b"", 0
        while True:
            piece, offset = read_log(store, "logs/a", offset)
            if not piece:
                break
            read += piece
        assert read == log
        assert second.size == len(log)
