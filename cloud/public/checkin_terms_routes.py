"""The routes of the terms: written by who runs the house, read by the desk and, before he agrees, by the guest."""

from typing import Annotated, Any, Final

from litestar import Request, Router, get, put
from litestar.params import FromPath, JSONBody, QueryParameter

from cloud.checkin import session_rows, terms
from cloud.kit.database import Database
from cloud.kit.times import iso
from cloud.platform.access_policy import ACTION
from cloud.platform.principals import Principal
from cloud.policy.in_force import body_in_force
from cloud.public import checkin_schema as schema
from cloud.public.gate import absent, property_for, stay_for
from cloud.public.reader import WallClock
from kit.http import ProblemError
from protocols.policy import check_in

BODY_BYTES_MOST: Final = 512 * 1024
"""A text of the longest, every character escaped."""
_TERMS: Final = "/properties/{property_id:str}/terms"
_ONE: Final = _TERMS + "/{version:str}/{language:str}"
_Language = Annotated[str, QueryParameter(pattern=r"^[a-z]{2}$", max_length=2)]

Call = Request[Principal, Any, Any]


def checkin_terms_routes(database: Database, clock: WallClock) -> Router:
    """Return the routes; they belong below /api/v1."""

    @get(
        "/properties/{property_id:str}/stays/{stay_id:str}/session/terms",
        summary="The terms that a check-in asks a guest to accept",
        opt={ACTION: "checkin.use"},
    )
    async def shown(
        request: Call, property_id: FromPath[str], stay_id: FromPath[str], language: _Language = "en"
    ) -> schema.TermsText:
        async with database.snapshot() as connection:
            found, stay = await stay_for(connection, request.user, property_id, stay_id)
            row = await session_rows.of_stay(connection, found, stay.id)
            if row is None or row.policy.terms is None:
                raise absent()
            texts = await terms.of_version(connection, found, row.policy.terms)
        return _text(row.policy.terms, texts, terms.chosen(texts, language))

    @get(_TERMS, summary="The versions of a house's terms", opt={ACTION: "checkin.assist"})
    async def listed(request: Call, property_id: FromPath[str]) -> schema.TermsVersions:
        async with database.snapshot() as connection:
            found = await property_for(connection, request.user, property_id)
            known = await terms.versions(connection, found)
            held = await body_in_force(connection, tenant=found.tenant, property_id=found.id, kind=check_in.KIND)
        policy = check_in.DEFAULT if held is None else check_in.parse(held[1])
        return schema.TermsVersions(
            policy.terms if check_in.StepKind.TERMS in policy.steps else None,
            [
                schema.TermsVersion(
                    version,
                    [
                        schema.TermsLanguage(each.language, each.sha256, each.made_by, iso(each.made_at))
                        for each in all_
                    ],
                )
                for version, all_ in known.items()
            ],
        )

    @get(_ONE, summary="One text of a house's terms", opt={ACTION: "checkin.assist"})
    async def read(
        request: Call, property_id: FromPath[str], version: FromPath[str], language: FromPath[str]
    ) -> schema.TermsText:
        async with database.snapshot() as connection:
            found = await property_for(connection, request.user, property_id)
            texts = await terms.of_version(connection, found, version)
        if language not in texts:
            raise absent()
        return _text(version, texts, texts[language])

    @put(_ONE, status_code=200, summary="Write a text of the terms down, for good", opt={ACTION: "terms.publish"})
    async def publish(
        request: Call,
        property_id: FromPath[str],
        version: FromPath[str],
        language: FromPath[str],
        data: JSONBody[schema.TermsPublication],
    ) -> schema.TermsText:
        async with database.transaction() as connection:
            found = await property_for(connection, request.user, property_id)
            try:
                made = await terms.publish(
                    connection,
                    found,
                    version=version,
                    language=language,
                    text=data.text,
                    by=request.user.name,
                    now_ms=clock.wall_ms(),
                )
            except terms.TermsStandError as error:
                raise ProblemError(409, str(error), kind="terms_stand", reason="terms_stand") from error
            texts = await terms.of_version(connection, found, version)
        return _text(version, texts, made)

    return Router("/", route_handlers=[shown, listed, read, publish], request_max_body_size=BODY_BYTES_MOST)


def _text(version: str, texts: dict[str, terms.Terms], one: terms.Terms | None) -> schema.TermsText:
    if one is None:
        return schema.TermsText(version, None, [], None, None)
    return schema.TermsText(version, one.language, sorted(texts), one.text, one.sha256)
