"""How much people hear of a month: python -m tests.benchmarks.routing [seed | sample].

Six weeks of noisy hours of 60 services of 8 teams go through the whole pipeline; in the last four
begin 24 incidents, at random, of which all is known. The same findings are told by three policies:
ours, an Alertmanager-like one, and every finding for itself. Each tells a team in a channel of its
own, and nothing that has cost less than FLOOR over what was expected.

With `sample` it is the bundled sample instead, once the detectors are calibrated: nine weeks with
the faults that service/sample/faults.json tells, and all that is natural in it.

A message is a duplicate when its channel heard of all that it names within the last 24 hours, by
the name of the service or resource. An incident is seen when a message names it between its begin
and a day after its end.
"""

import json
import re
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

import msgspec
import numpy as np

from service.adapters.sources import Reader, SnapshotBook
from service.adapters.spool import Spool
from service.bootstrap import build_pipeline
from service.config import Settings
from service.core.events import Arrival
from service.core.findings import Finding
from service.entrypoints.demo import ACCOUNT_OWNERS, SAMPLE, months
from tests.factories import make_event

T0 = datetime(2026, 3, 2, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
LEARNS, LASTS = 14 * 24, 28 * 24
SERVICES, TEAMS, INCIDENTS = 60, 8, 24
FLOOR = Decimal(25)
GROUP_INTERVAL, REPEAT = timedelta(minutes=5), timedelta(hours=4)


class Trouble(NamedTuple):
    """One incident that was put in: `times` what the service costs, from one hour to another."""

    service: int
    first: int
    last: int
    times: float


class Truth(NamedTuple):
    """What is known of an incident: any of the names by which a message may call it, and when."""

    names: frozenset[str]
    begin: datetime
    end: datetime


class Case(NamedTuple):
    """What the policies are held against: hours of rows, who hears, and what there is to see."""

    title: str
    batches: Iterable[tuple[datetime, list[Arrival]]]
    settings: Settings
    truths: list[Truth]
    teams: int
    begin: datetime
    weeks: float


class Said(NamedTuple):
    """A message that people notice: when, in whose channel, naming which services."""

    at: datetime
    team: str
    services: frozenset[str]


def troubles(random):
    """Spread incidents over the month, each of another service, of 3 to 60 hours."""
    found = []
    for service in random.permutation(SERVICES)[:INCIDENTS].tolist():
        first = LEARNS + int(random.integers(0, LASTS - 72))
        hours = int(random.choice([3, 6, 12, 30, 60]))
        found.append(Trouble(service, first, first + hours, float(random.uniform(2.5, 6))))
    return sorted(found, key=lambda one: one.first)


def team_of(service):
    return f"team-{service % TEAMS}"


def hours(random, put_in):
    """Yield the rows of each hour: a daily wave, fewer at weekends, and noise."""
    level = random.lognormal(1.8, 0.7, SERVICES)
    by_service = {one.service: one for one in put_in}
    for number in range(LEARNS + LASTS):
        at = T0 + number * HOUR
        wave = 1 + 0.3 * np.sin(number / 24 * 2 * np.pi) - 0.2 * (at.weekday() >= 5)
        rows = []
        for service, noise in enumerate(random.lognormal(0, 0.12, SERVICES).tolist()):
            cost = level[service] * wave * noise
            one = by_service.get(service)
            if one is not None and one.first <= number < one.last:
                cost *= one.times
            event = make_event(
                charge_period_start=at, charge_period_end=at + HOUR, resource_id=f"i-{service}",
                effective_cost=Decimal(f"{cost:.4f}"), x_event_id=f"{service}-{number}",
                service_name=f"service-{service}", tags={"team": team_of(service)},
                sub_account_id=f"account-{service % 5}",
            )  # fmt: skip
            rows.append(Arrival(at + HOUR, "events", event))
        yield at + HOUR, rows


def settings(teams, **more):
    """Route each team to its channel; all else is as it comes."""
    routes = [{"matchers": [f"owner={team}"], "receiver": team} for team in teams]
    receivers = {team: [f"console:{team}"] for team in teams} | {"rest": ["console:rest"]}
    known = {"route": {"receiver": "rest", "min_impact": str(FLOOR), "routes": routes},
             "receivers": receivers, **more}  # fmt: skip
    return msgspec.convert(known, Settings, strict=False)


def invented(seed) -> Case:
    """Return the month that is made up."""
    random = np.random.default_rng(seed)
    put_in = troubles(random)
    truths = [
        Truth(frozenset([f"service-{one.service}"]), T0 + one.first * HOUR, T0 + one.last * HOUR)
        for one in put_in
    ]
    return Case(
        f"seed {seed}: {INCIDENTS} incidents, {SERVICES} services, {TEAMS} teams, 28 days",
        hours(random, put_in), settings([f"team-{n}" for n in range(TEAMS)]), truths, TEAMS,
        T0 + LEARNS * HOUR, LASTS / 24 / 7,
    )  # fmt: skip


def sample() -> Case:
    """Return the bundled sample: from day 45 on, which is when its faults begin."""
    told = json.loads((SAMPLE / "faults.json").read_text())
    span = {name: datetime.fromisoformat(at) for name, at in told["span"].items()}
    faults = [one for one in told["faults"] if one["kind"] != "fees"]
    begin = span["start"] + 44 * DAY
    estate = (SAMPLE / "estate.toml").read_text()
    teams = sorted({*re.findall(r'"(team-[a-z-]+)"', estate), *ACCOUNT_OWNERS.values()})
    truths = [
        Truth(
            frozenset([*one["resource_ids"], *one["resource_names"],
                       *(f"{one['kind']} in {account}" for account in one["sub_account_ids"])]),
            datetime.fromisoformat(one["start"]), datetime.fromisoformat(one["end"]),
        )
        for one in faults
    ]  # fmt: skip
    weeks = (span["end"] - begin) / DAY / 7
    return Case(
        f"the sample: {len(truths)} faults, {len(teams)} teams, {weeks:.1f} weeks",
        of_sample(), settings(teams, owners={"sub_accounts": ACCOUNT_OWNERS}), truths, len(teams),
        begin, weeks,
    )  # fmt: skip


def of_sample() -> Iterator[tuple[datetime, list[Arrival]]]:
    """Yield the rows of the sample as they arrive in the demo."""
    with SnapshotBook.temporary() as book:
        for inputs in months():
            spool = Spool()
            for arrival in Reader(inputs, mode="replay", reject=refuse, snapshots=book):
                spool.put(arrival)
            yield from spool.batches()
            spool.close()


def refuse(rejected):
    raise OSError(f"the bundled sample is broken: {rejected.reason}")


def watch(case: Case):
    """Run the pipeline; return the findings as they changed batch by batch, and all notices."""
    metrics = {"events": "effective", "focus": "effective"}
    pipeline = build_pipeline(case.settings, metrics, tells_history=True)
    changed, notices = [], []
    for offset, (now, rows) in enumerate(case.batches, 1):
        changes = pipeline.step(rows, now, offset).changes
        changed.append((now, list(changes.findings)))
        notices += changes.notices
    return changed, notices


def names_of(finding: Finding) -> frozenset[str]:
    """Return by what a message about a finding may be known: the narrowest that it names."""
    named = finding.resource_id or finding.resource_name or finding.service_name or "several"
    if finding.service_name is not None and finding.service_name.startswith("service-"):
        named = finding.service_name
    kinds = [f"{finding.kind} in {finding.sub_account_id}"] if finding.kind == "new_spend" else []
    return frozenset([named, *kinds])


def ours(changed, notices) -> tuple[list[Said], list[Said]]:
    """Return posts (digests too), and lines in threads."""
    named = {f.finding_id: names_of(f) for _, found in changed for f in found}
    posts, threads = [], []
    for notice in notices:
        of = (named[name] for name in notice.incident.finding_ids if name in named)
        services = frozenset(name for names in of for name in names)
        said = Said(notice.at, notice.destination.partition(":")[2], services)
        if notice.action in ("post", "digest"):
            posts.append(said)
        elif notice.action == "thread":
            threads.append(said)
    return posts, threads


def every(changed) -> list[Said]:
    """Tell each finding once, as soon as it has cost enough."""
    told, said = set(), []
    for now, findings in changed:
        for one in findings:
            if one.finding_id not in told and is_worth(one):
                told.add(one.finding_id)
                said.append(Said(now, one.owner, names_of(one)))
    return said


def alertmanager(changed) -> list[Said]:
    """Group by team; tell when a member comes or ends, and every four hours that one fires.

    As Alertmanager decides (notify.DedupStage), with send_resolved; hours are longer than
    group_wait and group_interval, so that neither holds anything back.
    """
    said: list[Said] = []
    firing: dict[str, dict[str, frozenset[str]]] = {}
    last: dict[str, tuple[datetime, frozenset[str]]] = {}
    for now, findings in changed:
        ended: dict[str, dict[str, frozenset[str]]] = {}
        for one in findings:
            members = firing.setdefault(one.owner, {})
            if one.ended_at is None and one.status != "retracted" and is_worth(one):
                members[one.finding_id] = names_of(one)
            elif one.finding_id in members:
                ended.setdefault(one.owner, {})[one.finding_id] = members.pop(one.finding_id)
        for team, members in firing.items():
            at, before = last.get(team, (T0, frozenset()))
            over = ended.get(team, {})
            is_new = bool(members.keys() - before)
            if is_new or over or (members and now - at >= REPEAT):
                named = frozenset().union(*members.values(), *over.values())
                said.append(Said(now, team, named))
                last[team] = now, frozenset(members)
    return said


def is_worth(finding: Finding) -> bool:
    return finding.impact is not None and abs(finding.impact) >= FLOOR


def seen(truths: Iterable[Truth], said: Iterable[Said]) -> int:
    """Count the incidents that a message named in time."""
    return sum(
        any(
            one.names & message.services and one.begin <= message.at <= one.end + DAY
            for message in said
        )
        for one in truths
    )


def duplicates(said: Iterable[Said]) -> int:
    """Count the messages that named nothing which their channel had not heard of for a day."""
    heard: dict[tuple[str, str], datetime] = {}
    count = 0
    for message in sorted(said, key=lambda one: one.at):
        known = [heard.get((message.team, service)) for service in message.services]
        count += all(at is not None and message.at - at <= DAY for at in known)
        heard |= {(message.team, service): message.at for service in message.services}
    return count


def main() -> None:
    """Print the table."""
    asked = sys.argv[1] if len(sys.argv) > 1 else "1"
    case = sample() if asked == "sample" else invented(int(asked))
    changed, notices = watch(case)
    posts, threads = ours(changed, notices)
    weeks = case.teams * case.weeks
    rows = [("Spendwatch", posts), ("Alertmanager-like", alertmanager(changed)),
            ("every finding", every(changed))]  # fmt: skip
    print(case.title)
    print("| policy | messages | per team and week | beyond the incidents | seen | duplicates |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, said in rows:
        month = [one for one in said if one.at >= case.begin]
        found = seen(case.truths, month)
        beyond = (len(month) - found) / weeks
        print(
            f"| {name} | {len(month)} | {len(month) / weeks:.2f} | {beyond:.2f} | "
            f"{found} of {len(case.truths)} | {duplicates(month)} |"
        )
    threads = [one for one in threads if one.at >= case.begin]
    edits = sum(notice.action == "edit" and notice.at >= case.begin for notice in notices)
    print(f"\nSpendwatch besides: {len(threads)} lines in threads, {edits} edits.")


if __name__ == "__main__":
    main()
