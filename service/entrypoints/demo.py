"""The demo: the whole product on this machine over the bundled sample, replayed fast."""

import tempfile
from importlib.metadata import version
import time
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Final

import service.sample
from service.adapters.history import History
from service.adapters.sources import Reader, SnapshotBook
from service.adapters.spool import Spool
from service.bootstrap import build_notifiers, build_pipeline, open_store
from service.config import Settings, StoreSettings
from service.core.events import Rejected
from service.core.routing import Route
from service.core.secret import Secret
from service.entrypoints.api.serve import serve
from service.entrypoints.local_slack import build_app as build_slack
from service.entrypoints.machine import Machine, Parts, utc_now
from service.entrypoints.serve import stopped_by_signal
from service.telemetry import Metrics, configure_logging

SAMPLE: Final = Path(service.sample.__file__).parent
CHANNEL: Final = "#spend"
DRAINS_WITHIN_SECONDS: Final = 60.0


class Demo:
    """Runs once over the sample, then stays up so that one can look around."""

    def __init__(self, say: Callable[[str], None], port: int) -> None:
        self._say = say
        self._port = port
        self._until: datetime | None = None

    def run(self, *, once: bool) -> None:
        """Replay the sample; return after it with `once`, else at SIGTERM or Ctrl-C."""
        stop = stopped_by_signal()
        configure_logging("error")
        self._say("Spendwatch demo: 100 days of spend of one company, replayed in seconds.")
        self._say(
            "Built from real GPU pools, real price lists and real load curves, with a handful"
        )
        self._say(f"of documented faults; what is real and what is not: {SAMPLE / 'README.md'}")
        self._say("")
        with (
            tempfile.TemporaryDirectory(prefix="spendwatch-demo-") as folder,
            serve(build_slack()) as slack,
        ):
            settings = self._settings(slack)
            with open_store(settings, Path(folder)) as store:
                history = History(Path(folder) / "history")
                notifiers = build_notifiers(settings)
                parts = Parts(settings, store, history, Metrics(version("spendwatch")), notifiers)
                machine = Machine(parts, self._now)
                with machine.serving(self._port) as address:
                    self._say(f"page and API  {address}")
                    self._say(f"local Slack   {slack}")
                    self._say("")
                    self._replay(settings, machine)
                    self._drain(store.next_due)
                    history.flush()
                    counts = store.delivery_counts()
                    self._say("")
                    self._say(
                        f"Done: {counts['sent']} deliveries sent, {counts['superseded']} edits "
                        f"overtaken by newer ones, {counts['dead']} failed."
                    )
                    if not once:
                        self._say(f"Look around at {address} and {slack}; Ctrl-C ends the demo.")
                        stop.wait()
                history.close()

    def _settings(self, slack: str) -> Settings:
        return Settings(
            store=StoreSettings(),
            route=Route(receiver="everyone", min_impact=Decimal(25)),
            receivers={"everyone": [f"slack:{CHANNEL}", "console:"]},
            notifiers={
                "slack": {"token": Secret("xoxb-local-demo"), "base_url": f"{slack}/api/"},
                "console": {},
            },
        )

    def _replay(self, settings: Settings, machine: Machine) -> None:
        rejected: list[Rejected] = []
        inputs = [SAMPLE / "export", SAMPLE / "gpu_samples.ndjson.gz"]
        spool = Spool()
        with SnapshotBook.temporary() as book:
            for arrival in Reader(inputs, mode="replay", reject=rejected.append, snapshots=book):
                spool.put(arrival)
        pipeline = build_pipeline(settings, {"focus": "effective"}, tells_history=True)
        done = 0
        for now, batch in spool.batches():
            done += len(batch)
            self._until = now
            machine.save(pipeline.step(batch, now, done))
        spool.close()
        self._say(f"{done:,} rows of {pipeline.series:,} series replayed.")

    def _drain(self, next_due: Callable[[], datetime | None]) -> None:
        deadline = time.monotonic() + DRAINS_WITHIN_SECONDS
        while next_due() is not None and time.monotonic() < deadline:
            time.sleep(0.1)

    def _now(self) -> datetime:
        """Return the demo's present: the time of the newest row, so that ages read right."""
        return self._until or utc_now()
