"""The demo: the whole product on this machine over the bundled sample, replayed fast."""

import contextlib
import socket
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Final

import service.sample
from service.adapters.history import History
from service.adapters.sources import Reader, SnapshotBook
from service.adapters.spool import Spool
from service.bootstrap import build_notifiers, build_pipeline, open_store, remove_orphans
from service.config import ApiSettings, OwnerSettings, Settings, StoreSettings
from service.core.budgets import Terms
from service.core.events import Rejected
from service.core.routing import Route
from service.core.secret import Secret
from service.entrypoints.admin_token import new_token
from service.entrypoints.local_slack import build_app as build_slack
from service.entrypoints.local_slack import serve as serve_slack
from service.entrypoints.machine import Machine, Parts, utc_now
from service.entrypoints.stopping import Stop
from service.telemetry import Metrics, configure_logging

SAMPLE: Final = Path(service.sample.__file__).parent
USUAL_PORT: Final = 8321
FOLDER: Final = "spendwatch-demo-"
CHANNEL: Final = "#spend"
ACCOUNT_OWNERS: Final = {
    "111122223333": "team-ml-platform",
    "005566667777": "team-data-eng",
    "000411112222": "platform-oncall",
}
BUDGETS: Final = {
    "ml-platform": Terms(amount=Decimal(34_500), owner="team-ml-platform", thresholds=[80, 100]),
}
DRAINS_WITHIN_SECONDS: Final = 60.0


class Demo:
    """Runs once over the sample, then stays up so that one can look around."""

    def __init__(self, say: Callable[[str], None], port: int | None) -> None:
        self._say = say
        self._port = port
        self._until: datetime | None = None

    def run(self, *, once: bool) -> None:
        """Replay the sample; return after it with `once`, else at SIGTERM or Ctrl-C.

        Interrupted when the signal comes before the replay has ended.
        """
        stop = Stop()
        configure_logging("error")
        remove_orphans(FOLDER)
        port = free_port() if self._port is None else self._port
        self._say("Spendwatch demo: 107 days of spend of one company, replayed in seconds.")
        self._say(
            "Built from real GPU pools, real price lists and real load curves, with a handful"
        )
        self._say(f"of documented faults; what is real and what is not: {SAMPLE / 'README.md'}")
        self._say("")
        with (
            tempfile.TemporaryDirectory(prefix=FOLDER) as folder,
            serve_slack(build_slack(channels=[CHANNEL.removeprefix("#")])) as slack,
        ):
            settings = self._settings(slack, port)
            with open_store(settings, Path(folder)) as store:
                history = History(Path(folder) / "history")
                notifiers = build_notifiers(settings)
                parts = Parts(settings, store, history, Metrics(version("spendwatch")), notifiers)
                token = new_token()
                machine = Machine(parts, stop, self._now, token=token)
                with machine.serving(port) as address:
                    self._say(f"page          {address}/sign-in#token={token}")
                    self._say(
                        f"API           {address}/v1/status, open to this machine in the demo;"
                    )
                    self._say(f"              elsewhere it takes a token, here {token}")
                    self._say(f"local Slack   {slack}")
                    self._say("")
                    self._replay(settings, machine, stop)
                    self._drain(store.next_due, stop)
                    history.flush()
                    counts = store.delivery_counts()
                    self._say("")
                    self._say(
                        f"Done: {counts['sent']} deliveries sent, {counts['superseded']} edits "
                        f"overtaken by newer ones, {counts['dead']} failed."
                    )
                    for error in sorted({str(d.error) for d in store.deliveries("dead")}):
                        self._say(f"  failed: {error}")
                    if not once:
                        self._say(f"Look around at {address} and {slack}; Ctrl-C ends the demo.")
                        stop.wait()
                history.close()

    def _settings(self, slack: str, port: int) -> Settings:
        return Settings(
            store=StoreSettings(),
            api=ApiSettings(public_url=f"http://127.0.0.1:{port}", local="viewer"),
            owners=OwnerSettings(sub_accounts=ACCOUNT_OWNERS),
            budgets=BUDGETS,
            route=Route(receiver="everyone", min_impact=Decimal(25)),
            receivers={"everyone": [f"slack:{CHANNEL}", "console:"]},
            notifiers={
                "slack": {"token": Secret("xoxb-local-demo"), "base_url": f"{slack}/api/"},
                "console": {},
            },
        )

    def _replay(self, settings: Settings, machine: Machine, stop: Stop) -> None:
        """Replay month by month: a month's rows arrive before those of the next."""
        pipeline = build_pipeline(settings, {"focus": "effective"}, tells_history=True)
        done = 0
        with SnapshotBook.temporary() as book:
            for inputs in months():
                spool = Spool()
                with stop.interruptible():
                    for arrival in Reader(inputs, mode="replay", reject=_refuse, snapshots=book):
                        spool.put(arrival)
                for now, batch in spool.batches():
                    done += len(batch)
                    self._until = now
                    with stop.interruptible():
                        outcome = pipeline.step(batch, now, done)
                    machine.save(outcome)
                spool.close()
        self._say(f"{done:,} rows of {pipeline.series:,} series replayed.")

    def _drain(self, next_due: Callable[[], datetime | None], stop: Stop) -> None:
        deadline = time.monotonic() + DRAINS_WITHIN_SECONDS
        while next_due() is not None and time.monotonic() < deadline:
            stop.wait(0.1)
            stop.check()

    def _now(self) -> datetime:
        """Return the demo's present: the time of the newest row, so that ages read right."""
        return self._until or utc_now()


def free_port() -> int:
    """Return the usual port, or any free one if that is taken."""
    for port in (USUAL_PORT, 0):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)) as free:
            return int(free.getsockname()[1])
    raise OSError("no port is free on 127.0.0.1")


def months() -> list[list[Path]]:
    """Return the sample's manifests and GPU samples, month by month."""
    folders = SAMPLE.glob("export/*/metadata/BILLING_PERIOD=*")
    return [
        sorted(SAMPLE.glob(f"export/*/metadata/BILLING_PERIOD={month}/*/*-Manifest.json"))
        + sorted(SAMPLE.glob(f"gpu_samples-{month}.ndjson.gz"))
        for month in sorted({folder.name.partition("=")[2] for folder in folders})
    ]


def _refuse(rejected: Rejected) -> None:
    raise OSError(
        f"the bundled sample is broken: {rejected.file}:{rejected.row}: {rejected.reason}"
    )
