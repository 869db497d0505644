"""Budget findings: budgets, judged by what was spent and what will be, told as findings.

A budget has one finding a period, raised when the first of its thresholds is crossed. When rows or
the budget change so that what was spent crosses none any more, it is taken back.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from service.core import money
from service.core.budget_book import Book, Life
from service.core.budget_facts import Outlooks
from service.core.budget_figures import BudgetStatus, Exhausts
from service.core.budget_words import sentence
from service.core.budgets import (
    BURN,
    FORECAST,
    KIND,
    Budget,
    day_of,
    start_of_day,
)
from service.core.drivers import Member
from service.core.events import BUDGET_MARK, DAILY, SeriesKey
from service.core.findings import Finding, finding_id_of
from service.core.findings import Status as FindingStatus
from service.core.owners import Owners
from service.core.spend import Spent
from service.core.state import Chunk, Saved, Streams

# What an incident takes of a budget must be so much of it to be said.
LEAST_SHARE: Final = Decimal("0.05")
DAY: Final = timedelta(days=1)


class Budgets:
    """All budgets: those of the config, and those that people set."""

    def __init__(self, budgets: Iterable[Budget], owners: Owners) -> None:
        self._owners = owners
        self._books = {budget.name: Book(budget=budget) for budget in budgets}
        self._stale = dict.fromkeys(self._books)
        self._day = 0
        self._outlooks = Outlooks()
        self._ended: list[Book] = []
        self._changed: dict[str, BudgetStatus | None] = {}
        self.fixed = frozenset(self._books)

    def put(self, budget: Budget, now: datetime) -> None:
        """Set a budget, or change it."""
        book = self._books.get(budget.name)
        if book is None or not _is_same(book.budget, budget):
            self.drop(budget.name)
            book = self._books[budget.name] = Book(budget=budget)
        book.change(budget, now)
        self._stale[budget.name] = None

    def drop(self, name: str) -> None:
        """End a budget, and what is told of it."""
        book = self._books.pop(name, None)
        if book is not None:
            self._end(book)

    def take(self, spent: Iterable[Spent], part: str = "") -> None:
        """Take in what a part knows."""
        for one in spent:
            book = self._books.get(one.budget)
            # A part that has not heard of a change yet speaks of what counted before.
            if book is not None and one.scope in ("", book.budget.scope):
                book.take(one, part)
                self._stale[one.budget] = None

    def judge(self, now: datetime) -> list[Member]:
        """Return the findings that changed, in a fixed order: what was told, and each new day."""
        if day_of(now) != self._day:
            self._day = day_of(now)
            self._stale |= dict.fromkeys(self._books)
        found = []
        for book in self._ended:
            told = [life for life in book.lives if life.detected_at is not None]
            found += [self._member(book, life, ended_at=now) for life in told]
        for name in sorted(self._stale.keys() & self._books.keys()):
            book = self._books[name]
            found += [self._member(book, life) for life in book.judge(now, self._outlooks)]
            if (status := self._status(book)) is not None:
                self._changed[name] = status
        self._stale, self._ended = {}, []
        return found

    def changed(self) -> dict[str, BudgetStatus | None]:
        """Return the budgets that changed since the last call; None for one that is no more."""
        changed, self._changed = self._changed, {}
        return changed

    def everything(self) -> dict[str, BudgetStatus | None]:
        """Return every budget that was judged."""
        every = {name: self._status(book) for name, book in self._books.items()}
        return {name: status for name, status in every.items() if status is not None}

    def exhausts(
        self, lead: Finding, rate: Decimal | None, lasted: timedelta, now: datetime
    ) -> Exhausts | None:
        """Return which budget an incident alone uses up before its period ends, the first of them.

        Asked are those to which all of it counts, as far as its owner, service and account tell. A
        rate that has not lasted for a day is believed for one day only.
        """
        if rate is None or rate <= 0 or lead.kind == KIND:
            return None
        found = []
        for name, book in self._books.items():
            figures = book.lives[-1].figures if book.lives else None
            if (
                figures is None
                or figures.currency != lead.billing_currency
                or not book.budget.takes_all_of(lead.owner, lead.service_name, lead.sub_account_id)
            ):
                continue
            left = money.subtract(figures.amount, figures.spent)
            ahead = figures.period_end - now
            ahead = ahead if lasted >= DAY else min(ahead, DAY)
            takes = rate * Decimal(int(ahead.total_seconds())) / 86400
            if 0 < left <= takes and takes >= LEAST_SHARE * figures.amount:
                at = now + timedelta(hours=int(left / rate * 24))
                found.append(Exhausts(name, left, at))
        return min(found, key=lambda one: (one.at, one.budget), default=None)

    def forget(self, before: datetime) -> None:
        """Let go of what is long before a time."""
        for book in self._books.values():
            book.forget(before)

    def save(self, streams: Streams, name: str) -> Iterator[Chunk]:
        """Yield what changed since the last save."""
        yield from streams.values(f"{name}/books", self._books.items())
        yield from streams.values(f"{name}/rest", [("", (self._day, list(self._stale)))])

    def restore(self, saved: Saved, name: str, standing: Iterable[Budget]) -> None:
        """Take over what was saved; what is set now, by config or people, goes before it."""
        self._books |= {budget.name: Book(budget=budget) for budget in standing}
        day, stale = saved.values(f"{name}/rest", tuple[int, list[str]]).get("", (0, []))
        known = saved.values(f"{name}/books", Book)
        for one, mine in list(self._books.items()):
            book = known.pop(one, None)
            if book is not None and _is_same(mine.budget, book.budget):
                stale += [one] if mine.budget != book.budget else []
                book.change(mine.budget, start_of_day(day))
                self._books[one] = book
            else:
                stale.append(one)
                if book is not None:
                    self._end(book)
        for book in known.values():
            self._end(book)
        self._day, self._stale = day, dict.fromkeys(stale)

    def _end(self, book: Book) -> None:
        self._ended.append(book)
        self._changed[book.budget.name] = None

    def _status(self, book: Book) -> BudgetStatus | None:
        figures = book.lives[-1].figures if book.lives else None
        if figures is None:
            return None
        over = figures.spent >= figures.amount
        at_risk = any(one.what.startswith((BURN, FORECAST)) for one in figures.crossed)
        return BudgetStatus(
            budget=book.budget,
            owner=book.budget.heard_by(self._owners).name,
            state="over" if over else "at_risk" if at_risk else "within",
            figures=figures,
        )

    def _member(self, book: Book, life: Life, ended_at: datetime | None = None) -> Member:
        figures, budget, at = life.figures, book.budget, life.detected_at
        assert figures is not None  # noqa: S101  it is told of what was judged
        assert at is not None  # noqa: S101
        owner = budget.heard_by(self._owners)
        account = budget.sub_account or ""
        series = str(SeriesKey("", account, f"{BUDGET_MARK}{budget.name}", budget.currency, DAILY))
        if life.is_settled:
            ended_at = figures.period_end
        elif not life.crossed:
            ended_at = ended_at or figures.as_of
        finding = Finding(
            finding_id=finding_id_of(series, KIND, figures.period_start),
            detector=KIND,
            kind=KIND,
            status=_status_of(life, figures.amount),
            series=series,
            resource_id=None,
            sub_account_id=account,
            service_name=budget.service,
            region_id=None,
            owner=owner.name,
            charge_period_start=figures.period_start,
            charge_period_end=figures.as_of,
            detected_at=at,
            score=0.0,
            actual=figures.spent,
            expected=figures.amount,
            expected_low=figures.amount,
            expected_high=figures.amount,
            impact=None,
            billing_currency=budget.currency,
            reason=sentence(figures),
            owner_source=owner.source,
            ended_at=ended_at,
            resource_name=budget.name,
            budget=figures,
        )
        return Member(finding, {}, 24)


def _is_same(one: Budget, other: Budget) -> bool:
    """Tell whether two budgets differ in no more than what may change within a period."""
    return one.same_scope(other) and one.same_periods(other)


def _status_of(life: Life, amount: Decimal) -> FindingStatus:
    """Retracted is what rows undid: no forecast that went back, and no amount that was raised."""
    was_spent = (
        not what.startswith((BURN, FORECAST)) and at == amount
        for what, (at, _) in life.seen.items()
    )
    if not life.crossed and any(was_spent):
        return "retracted"
    return "confirmed" if life.is_settled else "provisional"
