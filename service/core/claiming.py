"""Claiming: whose a finding is when people said so, and what a claim of an incident stands for."""

from collections.abc import Collection

import msgspec

from service.core.claims import CLAIMED, Claim, claim_on, source_of
from service.core.drivers import Member
from service.core.events import GROUP_MARK, NEW_MARK, SeriesKey, content_hash
from service.core.findings import Finding
from service.core.intents import Mark
from service.core.owners import INFERRED, UNOWNED
from service.core.standing import Things


def owner_of(finding: Finding, things: Things) -> tuple[str, str] | None:
    """Return who claimed what a finding is about, and who said so; None where a better link knows.

    A sum is never claimed: it may hold what others own.
    """
    weak = finding.owner == UNOWNED or finding.owner_source.startswith((INFERRED, CLAIMED))
    weak = weak and finding.budget is None
    if not weak or SeriesKey.parse(finding.series).resource.startswith((GROUP_MARK, NEW_MARK)):
        return None
    claim = claim_on(things.of(Claim), finding.resource_id, finding.sub_account_id)
    return None if claim is None else (claim.owner, source_of(claim))


def owned(member: Member, things: Things) -> Member:
    """Return a finding as that of who claimed it, if anybody did."""
    found = owner_of(member.finding, things) if things.of(Claim) else None
    if found is None:
        return member
    finding = msgspec.structs.replace(member.finding, owner=found[0], owner_source=found[1])
    return member._replace(finding=finding)


def claims_of(mark: Mark, findings: Collection[Finding]) -> list[Claim]:
    """Return what a claim of an incident stands for: its resources, else its sub-account."""
    said = {"owner": mark.to or UNOWNED, "author": mark.who}
    resources = sorted({one.resource_id for one in findings if one.resource_id})
    accounts = sorted({one.sub_account_id for one in findings if one.sub_account_id})
    if resources:
        return [Claim(name=_name("resource", one), resource_id=one, **said) for one in resources]
    return [Claim(name=_name("account", one), sub_account_id=one, **said) for one in accounts]


def _name(kind: str, id_: str) -> str:
    return content_hash({kind: id_})
