"""The kinds of destination. The part of a destination before the colon is the key here."""

from collections.abc import Mapping
from typing import Any, Final, Protocol

import msgspec

from service.adapters.notifiers.apprise import Apprise
from service.adapters.notifiers.console import Console
from service.adapters.notifiers.email import Email
from service.adapters.notifiers.pagerduty import PagerDuty
from service.adapters.notifiers.slack import Slack
from service.adapters.notifiers.webhook import Webhook
from service.core.ports import Notifier


class Kind(Protocol):
    """A notifier's class: made from its `Settings` alone, one for all destinations of its kind."""

    @property
    def Settings(self) -> type[msgspec.Struct]:  # noqa: N802  it holds a class
        """What the config gives this notifier."""
        ...

    def reaches(self, target: str, /) -> bool:
        """Tell whether what follows the colon of a destination can name someone to tell."""
        ...

    def __call__(self, settings: Any, /) -> Notifier:
        """Return a notifier."""
        ...


NOTIFIERS: Final[Mapping[str, Kind]] = {
    "apprise": Apprise,
    "console": Console,
    "email": Email,
    "pagerduty": PagerDuty,
    "slack": Slack,
    "webhook": Webhook,
}
