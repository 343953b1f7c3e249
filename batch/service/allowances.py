"""The quotas that bind an account: those of every profile that shares it."""

from __future__ import annotations

from batch.core.account import Account
from batch.core.quota import Quota
from batch.core.sharing import shared
from batch.errors import ConfigError, KeyRefusedError
from batch.service.context import Service
from batch.store import spending
from batch.store.sql import AnyConnection, AnyLine


def quotas(
    service: Service, connection: AnyConnection, account: Account
) -> tuple[Quota, ...]:
    """Return the quotas that a call on this account must be granted by.

    Profiles that lead to the same host with the same key share an account, as far as
    jobs of this database name them. Those of the account's own profile come first.
    """
    first = spending.first_provider(connection, account.host, account.fingerprint)
    named = {account.provider, *spending.providers(connection)}
    sharing = [name for name in sorted(named) if _shares(service, name, account)]
    # Every process must name them in the same order, see core.sharing.
    sharing.sort(key=lambda name: name != first)
    known = service.settings.profiles
    found = shared((name, known[name].quotas) for name in sharing)
    own = {quota.name for quota in known[account.provider].quotas}
    return tuple(sorted(found, key=lambda quota: quota.name not in own))


def account_of(row: AnyLine) -> Account:
    """Return an account as the ledger has it."""
    return Account(provider=row.provider, host=row.host, fingerprint=row.fingerprint)


def quotas_of(
    service: Service, connection: AnyConnection, row: AnyLine
) -> tuple[Quota, ...]:
    """Return what binds an account of the ledger; nothing without its profile."""
    if row.provider not in service.settings.profiles:
        return ()
    return quotas(service, connection, account_of(row))


def _shares(service: Service, name: str, account: Account) -> bool:
    if name == account.provider:
        return True
    if not account.host or name not in service.settings.profiles:
        return False
    try:
        profile = service.settings.profile(name)
        fingerprint = service.fingerprint(profile)
    except (ConfigError, KeyRefusedError):
        # It cannot be called, with this key or any other.
        return False
    hosts = (profile.host, service.settings.profiles[name].host)
    return account.host in hosts and fingerprint == account.fingerprint
