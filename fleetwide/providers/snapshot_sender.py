"""Sends blocks of a disk to a pending snapshot, many at once."""

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import TYPE_CHECKING

from fleetwide.baseos.snapshot_blocks import BLOCK_BYTES, BlockManifest, block_checksum
from fleetwide.providers.cloud import Retries
from fleetwide.providers.progress import INTERVAL_SECONDS
from fleetwide.providers.sparse_disks import SparseDisk

if TYPE_CHECKING:
    from mypy_boto3_ebs import EBSClient

Arrived = Callable[[Sequence[int]], None]
"""Takes the blocks that have arrived since the last call, often none; may raise to cancel."""


class BlockSender:
    """Sends blocks from threads that hold one block in memory each."""

    def __init__(
        self,
        ebs: "EBSClient",
        snapshot_id: str,
        disk: SparseDisk,
        manifest: BlockManifest,
        retries: Retries,
    ) -> None:
        self._ebs = ebs
        self._snapshot_id = snapshot_id
        self._disk = disk
        self._manifest = manifest
        self._retries = retries
        self._stopped = threading.Event()

    def send(self, indexes: Iterable[int], in_flight: int, arrived: Arrived) -> None:
        """Send all, or stop at the first that cannot be sent and raise what botocore raised.

        ``arrived`` is called from this thread a few times a second, and once more at the end,
        also of a failed or cancelled run, with what arrived until the last thread had stopped.
        """
        waiting = iter(indexes)
        window = 2 * in_flight  # so that no thread has to wait for this one
        running: dict[Future[None], int] = {}
        with ThreadPoolExecutor(in_flight, "put-snapshot-block") as pool:
            try:
                while True:
                    for index in islice(waiting, window - len(running)):
                        running[pool.submit(self._put, index)] = index
                    if not running:
                        return
                    done, _ = wait(running, INTERVAL_SECONDS, FIRST_COMPLETED)
                    arrived([running.pop(future) for future in done if _succeeded(future)])
                    _raise_first(done)
            except BaseException:
                self._stopped.set()
                pool.shutdown(cancel_futures=True)
                arrived([index for future, index in running.items() if _succeeded(future)])
                raise

    def _put(self, index: int) -> None:
        # The hash is the manifest's: EBS thereby refuses a disk that changed since it was read.
        data = self._disk.block(index)
        checksum = block_checksum(self._manifest.sha256_of(index))
        self._retries.run(
            lambda: self._ebs.put_snapshot_block(
                SnapshotId=self._snapshot_id,
                BlockIndex=index,
                BlockData=data,
                DataLength=BLOCK_BYTES,
                Checksum=checksum,
                ChecksumAlgorithm="SHA256",
            ),
            self._stopped,
        )


def _succeeded(future: Future[None]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


def _raise_first(done: Iterable[Future[None]]) -> None:
    for future in done:
        future.result()
