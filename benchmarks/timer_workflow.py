"""The least workflow that waits: a timer of five minutes, again and again, and its worker."""

from datetime import timedelta

from temporalio import workflow

TIMER_QUEUE = "timers"
PAUSE = timedelta(minutes=5)
"""As long as a service at rest waits."""


@workflow.defn(name="OnlyWaits")
class OnlyWaits:
    """Never ends."""

    @workflow.run
    async def run(self) -> None:
        while True:
            await workflow.sleep(PAUSE, summary="nothing happens")
