"""Which policy a property goes by: the body last wanted of its edge, unless the edge said that it does not hold it."""

from cloud.kit.database import Connection, fetch_one


async def body_in_force(connection: Connection, *, tenant: str, property_id: str, kind: str) -> tuple[int, str] | None:
    """Return (version, body); None: nobody has made one. After a refusal the last good body speaks, if there is one."""
    row = await fetch_one(
        connection,
        "SELECT version, body, good_body, verdict FROM policy.wanted WHERE tenant = %s AND property = %s AND kind = %s",
        [tenant, property_id, kind],
    )
    if row is None:
        return None
    body = row["body"] if row["verdict"] in (None, "applied") else row["good_body"]
    return None if body is None else (row["version"], body)
