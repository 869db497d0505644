"""Tag policies: which tags resources must have, and with which values.

A key may be a dimension: a name for several spellings of one tag, so that `env` and `Environment`
are one thing wherever one asks for either.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Final

import msgspec

from service.core import money
from service.core.events import CostEvent, TagValue
from service.core.owners import plain_key
from service.core.phrases import clean

Dimension = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
DIMENSIONS: Final[Mapping[str, Sequence[str]]] = {
    "project": ("project", "proj"),
    "team": ("team", "squad"),
    "environment": ("environment", "env", "stage"),
    "model_version": ("model_version", "model-version", "modelversion"),
    "experiment": ("experiment", "experiment_name", "mlflow.experiment"),
}
LONGEST_VALUE: Final = 40
_Tags = Mapping[str, TagValue] | None


class Policy(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What a policy asks of each resource of a service, an account, or of all.

    Whoever's resources that break it cost less in 30 days than `from_per_month` is not told of it.
    """

    required: list[Dimension] = []
    allowed: dict[Dimension, list[str]] = {}
    service: str | None = None
    sub_account: str | None = None
    from_per_month: Decimal = Decimal(10)

    def __post_init__(self) -> None:
        """Refuse a policy that asks for nothing, and what is no amount."""
        money.check("from_per_month", self.from_per_month)
        if not self.required and not self.allowed:
            raise ValueError("neither required nor allowed is given: it would ask for nothing")
        for key, values in self.allowed.items():
            if not values:
                message = f"allowed.{key} is empty: nothing would be allowed"
                raise ValueError(message)

    def takes(self, about: CostEvent) -> bool:
        """Tell whether a resource is asked."""
        return self.service in (None, about.service_name) and self.sub_account in (
            None,
            about.sub_account_id,
        )


class Dimensions:
    """Which tags say where a resource belongs: the dimensions that are named, else the tag itself.

    `named` goes before DIMENSIONS. Keys are compared as those of owners are, values without case.
    """

    def __init__(self, named: Mapping[str, Sequence[str]]) -> None:
        known = {**DIMENSIONS, **named}
        self._keys = {name: [plain_key(key) for key in keys] for name, keys in known.items()}

    def of(self, tags: _Tags, name: str) -> str | None:
        """Return what some tags say of a dimension; None when they say nothing."""
        return self._of({plain_key(k): v for k, v in sorted((tags or {}).items())}, name)

    def _of(self, plain: Mapping[str, TagValue], name: str) -> str | None:
        for key in self._keys.get(name, [plain_key(name)]):
            value = plain.get(key)
            # FOCUS gives a tag without a value `true`.
            if value is not None and not isinstance(value, bool) and str(value).strip():
                return str(value).strip()
        return None

    def flaws(self, policy: Policy, tags: _Tags) -> tuple[str, ...]:
        """Say what tags lack: a key, or a value that is allowed; in the order of the policy."""
        plain = {plain_key(k): v for k, v in sorted((tags or {}).items())}
        found = [f"no {name}" for name in policy.required if self._of(plain, name) is None]
        for name, values in policy.allowed.items():
            value = self._of(plain, name)
            if value is not None and value.lower() not in {one.lower() for one in values}:
                found.append(f"{name} {clean(value, LONGEST_VALUE)!r} is not allowed")
        return tuple(found)
