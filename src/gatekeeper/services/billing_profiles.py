"""How are billing profiles read and set?"""

from __future__ import annotations

from gatekeeper.domain import billing_profiles as rules
from gatekeeper.domain.access import Actor
from gatekeeper.domain.audit import AuditKey
from gatekeeper.domain.billing_profiles import BillingProfile, SetBillingProfile
from gatekeeper.domain.errors import OrganizationNotFound
from gatekeeper.storage import audit, budgets
from gatekeeper.storage import billing_profiles as storage
from gatekeeper.storage.connections import Pool, wrap_errors


async def get_profile(pool: Pool, organization: str) -> BillingProfile:
    """Return what is in force. Raises `OrganizationNotFound`."""
    with wrap_errors():
        async with pool.connection() as connection:
            if await budgets.find_organization(connection, organization) is None:
                raise OrganizationNotFound(organization=organization)
            return await storage.find_profile(connection, organization)


async def set_profile(
    pool: Pool, organization: str, command: SetBillingProfile, actor: Actor, key: AuditKey
) -> BillingProfile:
    """Put a profile in force for invoices to come, and write down who did.

    Raises `OrganizationNotFound`, `EtagMismatch` or `InvalidField`.
    """
    with wrap_errors():
        async with pool.connection() as connection, connection.transaction():
            found = await budgets.lock_organization(connection, organization)
            if found is None:
                raise OrganizationNotFound(organization=organization)
            before = await storage.find_profile(connection, organization)
            changed = rules.change(organization, before, command)
            after = await storage.write_profile(connection, organization, changed)
            event = rules.change_event(before, after, actor, found[0], command.reason)
            await audit.write_event(connection, organization, event, key)
    return after
