"""Changes keys: the outer one for every tenant, and, asked to, a tenant's data key with its sessions and guests."""

from cloud.app.secrets import file_keys
from cloud.app.settings import CloudSettings
from cloud.checkin.sessions import Sessions
from cloud.guests.profiles import Profiles
from cloud.kit.acting import system
from cloud.kit.database import Database
from cloud.privacy.sealing import Sealer
from kit.clock import Clock
from kit.dice import Dice
from protocols.errors import InvalidInputError


async def rotate_keys(settings: CloudSettings, *, tenant: str | None, clock: Clock, dice: Dice) -> tuple[int, int]:
    """Return how many data keys were wrapped anew, and how many keys of sessions and guests were sealed anew.

    Safe to call again.

    Raises:
        InvalidInputError: no keys are configured.
        UnreadableError: a key that wrapped some data key is not configured any more; nothing was changed.
    """
    if settings.privacy is None:
        raise InvalidInputError("privacy", "is not configured: there are no keys to change")
    database = Database(settings.database.dsn, most=2, actor=system("rotate-keys"))
    sealer = Sealer(file_keys(settings.privacy, dice=dice), dice=dice)
    sessions = Sessions(database, sealer, clock=clock, dice=dice)
    await database.open()
    try:
        async with database.transaction() as connection:
            wrapped = await sealer.rewrap(connection)
            if tenant is not None:
                await sealer.rotate(connection, tenant=tenant, now_ms=clock.wall_ms())
        renewed = 0
        while tenant is not None and (some := await sessions.renew_keys(tenant)):
            renewed += some
        while tenant is not None and (some := await _renew_guests(database, Profiles(sealer), tenant, clock=clock)):
            renewed += some
    finally:
        await database.close()
    return wrapped, renewed


async def _renew_guests(database: Database, profiles: Profiles, tenant: str, *, clock: Clock) -> int:
    async with database.transaction() as connection:
        return await profiles.renew(connection, tenant, now_ms=clock.wall_ms())
