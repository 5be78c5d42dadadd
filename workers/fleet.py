"""The fleet as a whole, looked at by the scheduler: the valve on what is given up as lost."""

import asyncio
from datetime import UTC, datetime

import structlog

from activities.fleet import valve_rules
from fleetwide.settings import Settings
from fleetwide.store import standings
from fleetwide.store.session import Store

log = structlog.get_logger()


class FleetWatch:
    """Tells when the valve closes and opens; whoever asks it looks at the hosts' states anew."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self.store = store
        self.rules = valve_rules(settings)

    async def watch_valve(self) -> None:
        """Write an event when the valve closed or opened."""
        await asyncio.to_thread(self._look)

    def _look(self) -> None:
        now = datetime.now(UTC)
        with self.store.read() as session:
            seen = standings.valve(session, self.rules, now=now)
            known = standings.valve_row(session, now=now).frozen
        if seen.frozen != known:
            with self.store.write() as session:
                state = standings.note_valve(session, self.rules, now=now)
            log.warning("fleet.valve", frozen=state.frozen, hosts=state.silent)
