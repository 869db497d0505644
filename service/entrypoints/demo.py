"""The demo: the whole product on this machine over the bundled sample, replayed fast."""

import contextlib
import secrets
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
from service.config import (
    ApiSettings,
    OwnerSettings,
    Settings,
    SlackUserSettings,
    StoreSettings,
)
from service.core.budgets import Terms
from service.core.events import Rejected
from service.core.intents import Intent
from service.core.ports import DeliveryFilter
from service.core.routing import Route
from service.core.secret import Secret
from service.entrypoints.admin_token import new_token
from service.entrypoints.inbox import Inbox
from service.entrypoints.local_slack import build_app as build_slack
from service.entrypoints.local_slack import serve as serve_slack
from service.entrypoints.machine import Machine, Parts, utc_now
from service.entrypoints.slack_app import PATH as SLACK_PATH
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
LISTENS_EVERY_SECONDS: Final = 0.1
# Who is who in the local Slack: one who may do everything, one of a team, one whom nobody knows.
MEMBERS: Final = {
    "U0LOCALADA": SlackUserSettings(person="Ada", role="admin"),
    "U0LOCALBOB": SlackUserSettings(person="Bob", teams=["team-ml-platform"]),
}
USERS: Final = {"U0LOCALADA": "ada", "U0LOCALBOB": "bob", "U0LOCALNEW": "stranger"}


class Demo:
    """Runs once over the sample, then stays up so that one can look around."""

    def __init__(self, say: Callable[[str], None], port: int | None) -> None:
        self._say = say
        self._port = port
        self._until: datetime | None = None
        self._ended_at: datetime | None = None
        self._inbox = Inbox()
        self._done = 0

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
            serve_slack(local := build_slack(channels=[CHANNEL[1:]], users=USERS)) as slack,
        ):
            secret = Secret(secrets.token_hex(16))
            local.state.hands.reach(f"http://127.0.0.1:{port}{SLACK_PATH}", secret)
            settings = self._settings(slack, port, secret)
            with open_store(settings, Path(folder)) as store:
                history = History(Path(folder) / "history")
                notifiers = build_notifiers(settings)
                parts = Parts(settings, store, history, Metrics(version("spendwatch")), notifiers)
                token = new_token()
                machine = Machine(
                    parts,
                    stop,
                    lambda: self._moment(utc_now()),
                    follow=self._inbox.ask,
                    token=token,
                    moment=self._moment,
                    is_live=False,
                )
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
                    for error in sorted(
                        {str(d.error) for d in store.deliveries(DeliveryFilter(state="dead"))}
                    ):
                        self._say(f"  failed: {error}")
                    if not once:
                        self._say(f"Look around at {address} and {slack}; Ctrl-C ends the demo.")
                        self._listen(machine, stop)
                history.close()

    def _listen(self, machine: Machine, stop: Stop) -> None:
        """Follow what people do until the end. Time stands still: no more rows will come."""
        self._ended_at = utc_now()
        while not stop.wait(LISTENS_EVERY_SECONDS):
            self._inbox.drain(lambda intent: self._follow(intent, machine))

    def _follow(self, intent: Intent, machine: Machine) -> str | None:
        refused = self._pipeline.refusal(intent)
        if refused is None:
            self._done += 1
            machine.save(self._pipeline.intent(intent, self._now(), self._done))
        return refused

    def _settings(self, slack: str, port: int, secret: Secret) -> Settings:
        return Settings(
            store=StoreSettings(),
            api=ApiSettings(public_url=f"http://127.0.0.1:{port}", local="viewer"),
            owners=OwnerSettings(sub_accounts=ACCOUNT_OWNERS),
            budgets=BUDGETS,
            route=Route(receiver="everyone", min_impact=Decimal(25)),
            receivers={"everyone": [f"slack:{CHANNEL}", "console:"]},
            notifiers={
                "slack": {
                    "token": Secret("xoxb-local-demo"),
                    "signing_secret": secret,
                    "base_url": f"{slack}/api/",
                },
                "console": {},
            },
            slack_users=MEMBERS,
        )

    def _replay(self, settings: Settings, machine: Machine, stop: Stop) -> None:
        """Replay month by month: a month's rows arrive before those of the next."""
        self._pipeline = build_pipeline(settings, {"focus": "effective"}, tells_history=True)
        with SnapshotBook.temporary() as book:
            for inputs in months():
                spool = Spool()
                with stop.interruptible():
                    for arrival in Reader(inputs, mode="replay", reject=_refuse, snapshots=book):
                        spool.put(arrival)
                for now, batch in spool.batches():
                    self._done += len(batch)
                    self._until = now
                    with stop.interruptible():
                        outcome = self._pipeline.step(batch, now, self._done)
                    machine.save(outcome)
                    self._inbox.drain(lambda intent: self._follow(intent, machine))
                spool.close()
        self._say(f"{self._done:,} rows of {self._pipeline.series:,} series replayed.")

    def _drain(self, next_due: Callable[[], datetime | None], stop: Stop) -> None:
        deadline = time.monotonic() + DRAINS_WITHIN_SECONDS
        while next_due() is not None and time.monotonic() < deadline:
            stop.wait(0.1)
            stop.check()

    def _now(self) -> datetime:
        """Return the demo's present: the time of the newest row, so that ages read right."""
        return self._until or utc_now()

    def _moment(self, at: datetime) -> datetime:
        """Return when something was done in the demo's time, which ends with the replay."""
        return self._now() + (at - (self._ended_at or at))


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
