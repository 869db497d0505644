"""Boxes: what each destination has had of late, how much more it may get, and what is left over."""

from datetime import datetime, time, timedelta
from typing import Final

import msgspec

from service.core.intervals import zone_of
from service.core.routing import Policy

DIGEST_AT: Final = time(8)
_HOUR: Final = timedelta(hours=1)
WEEK: Final = timedelta(days=7)


class Box(msgspec.Struct):
    """One destination: when it got its posts of the last week, and what waits for its digest.

    `summary` names the message that takes what its budget of posts leaves over.
    """

    posts: list[datetime] = []
    summary: str | None = None
    digest: list[str] = []
    digest_at: datetime | None = None

    def may_post(self, policy: Policy, at: datetime) -> bool:
        """Tell whether one more post is within the budget."""
        self.posts = [post for post in self.posts if post > at - WEEK]
        last_hour = sum(post > at - _HOUR for post in self.posts)
        week = policy.max_posts_per_week
        return last_hour < policy.max_posts_per_hour and (week is None or len(self.posts) < week)

    def keep(self, incident_id: str, policy: Policy, at: datetime) -> None:
        """Put an incident aside for the next digest."""
        if incident_id not in self.digest:
            self.digest.append(incident_id)
        due = next_digest(policy, at)
        if self.digest_at is None or due < self.digest_at:
            self.digest_at = due

    def take_digest(self) -> list[str]:
        """Take out all that waits."""
        found, self.digest, self.digest_at = self.digest, [], None
        return found


def next_digest(policy: Policy, at: datetime) -> datetime:
    """Return when a digest goes out next: at eight in the morning, weekly ones on Mondays.

    By the clock of the quiet hours, if there are any, else by UTC.
    """
    zone = zone_of("UTC" if policy.quiet_hours is None else policy.quiet_hours.location)
    local = at.astimezone(zone)
    day = local.date()
    while True:
        due = datetime.combine(day, DIGEST_AT, zone).astimezone(at.tzinfo)
        if due > at and (policy.digest != "weekly" or day.weekday() == 0):
            return due
        day += timedelta(days=1)
