"""Settings of the cloud service: `cloud.toml`, then INNKEEPER_CLOUD_* variables. Secrets stand in files of their own.

See docs/operating/cloud.md for the whole file; every key is described here.
"""

from datetime import time, timedelta
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

import msgspec
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from cloud.platform.principals import StaffRole
from cloud.platform.relying_party import RelyingParty
from cloud.pms.ohip.stream import address as stream_address
from cloud.pms.port import System
from cloud.stays.reservation import Housekeeping
from cloud.telemetry.fan_in.worker import WorkerSettings
from kit.settings import check_span, check_zone
from protocols.errors import InvalidInputError

_DAY: Final = timedelta(days=1)
_SECOND: Final = timedelta(seconds=1)
_KEPT_MOST: Final = timedelta(days=36_500)
_Port = Annotated[int, msgspec.Meta(ge=0, le=65_535)]
_Digest = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
_Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]


class DatabaseSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[database]: `dsn` in libpq form; at most `connections_most` connections besides one that listens."""

    dsn: str
    connections_most: Annotated[int, msgspec.Meta(ge=4, le=200)] = 16

    def __post_init__(self) -> None:
        """See that libpq would take `dsn`.

        Raises:
            ValueError: it would not. Nothing of it is shown: a password may be in it.
        """
        try:
            ports = str(conninfo_to_dict(self.dsn).get("port") or "").split(",")
        except (ProgrammingError, ValueError):  # ValueError: a NUL, or no Unicode
            raise ValueError(
                "dsn: is no connection string of libpq: keywords as in 'host=... dbname=... user=...', or postgresql://..."
            ) from None
        if not all(port == "" or (port.isascii() and port.isdigit() and 1 <= int(port) <= 65_535) for port in ports):
            raise ValueError("dsn: its port is not 1 to 65535")


class HttpSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[http]: where to listen; `origins` are accepted from browsers besides the address they asked.

    `secure_cookie` is for service behind TLS: the session cookie then never travels in the clear. `forwarded_hops` is
    how many proxies of ours stand in front and add to X-Forwarded-For; 0 believes none.
    """

    host: str = "127.0.0.1"
    port: _Port = 8080
    origins: tuple[str, ...] = ()
    secure_cookie: bool = False
    forwarded_hops: Annotated[int, msgspec.Meta(ge=0, le=8)] = 0


class TlsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[broker.tls]: the authority we trust, and who we are."""

    ca_path: Path
    cert_path: Path
    key_path: Path


class BrokerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[broker]: the cloud's MQTT broker. Absent: no records come in and no command goes out."""

    host: str
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 1883
    username: str | None = None
    password_path: Path | None = None
    tls: TlsSettings | None = None


class DownlinkSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[downlink]: the P-256 key (PEM) whose public half the edges pin for commands and documents, and its key id."""

    command_key_path: Path
    key_id: Annotated[str, msgspec.Meta(min_length=1, max_length=32)] = "command"


class LinkSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[link]: how long an edge may be quiet before it is called silent, then offline."""

    silent_after: timedelta = timedelta(seconds=30)
    offline_after: timedelta = timedelta(minutes=5)

    def __post_init__(self) -> None:
        check_span("silent_after", self.silent_after, _SECOND, _DAY)
        check_span("offline_after", self.offline_after, self.silent_after, 30 * _DAY)


class IngestSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[ingest]: the worker that takes what buildings publish; see docs/operating/cloud.md, "Ingest workers".

    `name` is this worker's among all that share the broker: one that starts again under its name takes its own shards
    at once; without a name the others wait until its leases have run out. Never give two running workers one name.
    `inside_run` false: `innkeeper-cloud run` serves and leaves the ingest to workers of their own. `lease` is how long
    a worker may be silent before others take its shards, `work` how it works.
    """

    name: _Name | None = None
    inside_run: bool = True
    lease: timedelta = timedelta(seconds=6)
    work: WorkerSettings = WorkerSettings()

    def __post_init__(self) -> None:
        check_span("lease", self.lease, timedelta(seconds=3), timedelta(hours=1))


class TelemetrySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[telemetry]: how long things are kept at least; whole days go. PT0S: for ever.

    `keep_readings` to `keep_days`: the time series, by resolution; what was not rolled up yet is never let go,
    whatever its age. `keep_ledger_a` to `_c`: every record as it came, by lane; a day goes once it is sealed
    (docs/decisions/0053).
    """

    keep_readings: timedelta = timedelta(days=35)
    keep_minutes: timedelta = timedelta(days=100)
    keep_quarters: timedelta = timedelta(days=800)
    keep_days: timedelta = timedelta(0)
    keep_ledger_a: timedelta = timedelta(days=1_100)
    keep_ledger_b: timedelta = timedelta(days=100)
    keep_ledger_c: timedelta = timedelta(days=14)

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            check_span(name, getattr(self, name), timedelta(0), _KEPT_MOST)


class KeepingSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[keeping]: how long what is over is kept at least, beside the telemetry: a day or more. PT0S: for ever.

    `keep_events`: events between modules that every subscriber had; `keep_given_up_events`: those that failed too
    often and that nobody settled. `keep_commands`: what was asked of buildings and is settled. `keep_openings`: what
    doors told, by arrival. `keep_deliveries`: webhooks that were taken or given up. `keep_pms_runs`: notes of exchanges
    with a PMS. `keep_guests`: who stayed, from the end of his last stay on, and that somebody was erased, from then.
    `keep_letters`: whether guests were written to, once their stay is over as well. What still waits is never let go,
    whatever its age. Within a day whoever asked asks again: a command by its key, a building by what it told.
    """

    keep_events: timedelta = timedelta(days=7)
    keep_given_up_events: timedelta = timedelta(days=400)
    keep_commands: timedelta = timedelta(days=400)
    keep_openings: timedelta = timedelta(days=1_100)
    keep_deliveries: timedelta = timedelta(days=35)
    keep_pms_runs: timedelta = timedelta(days=35)
    keep_guests: timedelta = timedelta(days=1_100)
    keep_letters: timedelta = timedelta(days=400)

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if kept := getattr(self, name):
                check_span(name, kept, _DAY, _KEPT_MOST)


class AccessTokenSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[[access_tokens]]: who holds a token. `sha256` is the hex digest of the token, which stands nowhere.

    `properties` empty means every property of the tenant.
    """

    name: _Name
    tenant: _Name
    sha256: _Digest
    role: StaffRole = "viewer"
    properties: tuple[str, ...] = ()


_RoomType = Annotated[str, msgspec.Meta(min_length=1, max_length=80)]


_Chain = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,32}\Z")]


class PmsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[[pms]]: the PMS of one property.

    `platform` is the partner's host (what stands in front of /api/connector/v1 of Mews). `access_token_path`: the
    property's token, api key, client secret or authentication code; `client_token_path`: our integration's token or
    client id; `hotel`: what the partner calls the property. Which of the others a system needs, says
    cloud/pms/vendors.py. `poll` is how often changes are asked for whatever the hints say; `overlap` how far each
    question reaches back before the last one; `full` how often everything near now is compared. `two_way` false: we
    read and never write. `room_types`: the site plan's word for each of the partner's codes of room types; a code that
    is not there is taken as it is. `conditions`: our word for each of the property's own of a room's condition, ""
    for none told; a room whose condition nobody here knows is given to no arrival. `chain` (ohip): events come from the
    chain's stream instead of the queue of `external_system`; `stream` is its address (wss://...) where it is not the
    platform's.
    """

    property: _Name
    system: System
    platform: str
    access_token_path: Path
    webhook_secret_path: Path
    client_token_path: Path | None = None
    app_key_path: Path | None = None
    hotel: str | None = None
    auth: str | None = None
    enterprise: str | None = None
    external_system: str | None = None
    chain: _Chain | None = None
    stream: str | None = None
    callback: str | None = None
    zone: str | None = None
    arrival: time = time(15)
    departure: time = time(11)
    poll: timedelta = timedelta(seconds=30)
    overlap: timedelta = timedelta(minutes=10)
    full: timedelta = timedelta(hours=24)
    two_way: bool = True
    room_types: dict[_RoomType, _RoomType] = {}
    conditions: dict[Annotated[str, msgspec.Meta(max_length=80)], Housekeeping] = {}

    def __post_init__(self) -> None:
        if self.zone is not None:
            check_zone("zone", self.zone)
        if self.system != "ohip" and (self.chain is not None or self.stream is not None):
            raise ValueError(f"chain and stream: {self.system} has no event stream, only ohip has")
        if self.stream is not None:
            stream_address(self.stream, "")
        check_span("poll", self.poll, _SECOND, _DAY)
        check_span("overlap", self.overlap, timedelta(0), 30 * _DAY)
        check_span("full", self.full, self.poll, 30 * _DAY)


class PasskeySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[passkeys]: for whom passkeys are made. Absent: there are none.

    `domain` stands in every passkey and cannot be changed without losing all of them; `origins` are our own pages in
    it (https, or http://localhost), `name` is what an authenticator shows.
    """

    domain: Annotated[str, msgspec.Meta(min_length=1, max_length=253)]
    origins: tuple[str, ...]
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] = "Innkeeper"

    def __post_init__(self) -> None:
        self.party()

    def party(self) -> RelyingParty:
        """Return it as the passkeys take it. Raises ValueError: an origin that is none, or of another domain."""
        return RelyingParty(self.domain, self.name, self.origins)


class CompanySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[companies]: sign-in with a tenant's own OpenID Connect provider. Absent: there is none.

    `address` is ours as browsers know it (https://host); providers send them back to its
    /api/v1/sign-in/company/callback. `private_issuers` are origins that tenants may name though they are not public,
    such as a provider in the company's own network; whatever stands there can be asked in our name.
    """

    address: str
    private_issuers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for each in (self.address, *self.private_issuers):
            parts = urlsplit(each)
            if parts.scheme not in ("http", "https") or each != f"{parts.scheme}://{parts.netloc}" or "@" in each:
                raise ValueError(f"{each!r}: want https://host or https://host:port and nothing more")
        if not self.address.startswith("https://") and urlsplit(self.address).hostname != "localhost":
            raise ValueError("address: want https, or codes travel in the clear")


class PrivacySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[privacy]: the keys that wrap the tenants' data keys: by name, a file of 32 bytes in hex each.

    The one called `key` wraps; the others unwrap until `innkeeper-cloud rotate-keys` has gone through. Absent:
    nothing personal of a guest is taken, and such steps of a check-in are the front desk's.
    """

    key: _Name
    paths: dict[_Name, Path]


class PaymentSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[[payments]]: the Stripe account of one property: its secret key, and the secret of its webhook endpoint.

    The endpoint is POST /webhooks/payments/<property>; `platform` is another address only for an emulator.
    """

    property: _Name
    secret_key_path: Path
    webhook_secret_path: Path
    platform: str = "https://api.stripe.com"


class RegistrationSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[registration]: `states_path` is a JSON object with the authority's nine-digit code of each state, by alpha-3."""

    states_path: Path | None = None

    def states(self) -> dict[str, str]:
        """Read the table; empty without one. Raises InvalidInputError: missing, or of another form."""
        if self.states_path is None:
            return {}
        try:
            return msgspec.json.decode(self.states_path.read_bytes(), type=dict[str, str])
        except (OSError, msgspec.DecodeError) as error:
            raise InvalidInputError(str(self.states_path), f"no table of states: {error}") from error


class WatchlistSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[[watchlists]]: a list that guests are screened against (cloud/checkin/watchlists.py); `path` is its CSV file.

    A possible match is a review for the front desk. Absent: nobody is screened.
    """

    name: _Name
    path: Path


class WebhookSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[webhooks]: `private_origins` (http://host:port) may be pushed to though they are not public.

    Every tenant may name them, and whatever listens there is asked in our name: for receivers of the operator alone.
    """

    private_origins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for each in self.private_origins:
            parts = urlsplit(each)
            if parts.scheme not in ("http", "https") or each != f"{parts.scheme}://{parts.netloc}" or "@" in each:
                raise ValueError(f"{each!r}: want http://host:port or https://host and nothing more")


class HouseMailSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[[mail.properties]]: what one property wants of letters.

    `invite_hours`: how long before the hour of arrival its guests are invited to check in; 0: never. `room_ready`:
    whether who waits for nothing but his room is told when it is. `language`: where the PMS tells none.
    """

    property: _Name
    invite_hours: Annotated[int, msgspec.Meta(ge=0, le=14 * 24)] = 0
    room_ready: bool = True
    language: Literal["en", "de", "fr", "es", "ar"] = "en"


class MailSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[mail]: the SMTP server that takes letters to guests. Absent: none are written.

    `sender` is the address they come from, at a domain whose SPF or DKIM names that server. `pages` is where guests'
    phones reach our pages (https://host). `tls` starttls refuses a server without it, implicit is encrypted from the
    first byte (port 465), none is for a server on this machine alone. `ca_path`: whom to believe, instead of the
    authorities that the system knows. Properties that are not listed are not written for.
    """

    host: Annotated[str, msgspec.Meta(min_length=1, max_length=253)]
    sender: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._+-]{1,64}@[A-Za-z0-9.-]{1,189}\Z")]
    pages: str
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 587
    tls: Literal["starttls", "implicit", "none"] = "starttls"
    ca_path: Path | None = None
    username: str | None = None
    password_path: Path | None = None
    properties: tuple[HouseMailSettings, ...] = ()

    def __post_init__(self) -> None:
        if self.tls == "none" and self.host not in ("localhost", "127.0.0.1", "::1"):
            raise ValueError("tls: none is for a server on this machine alone: guests' links would travel in the clear")
        if (self.username is None) != (self.password_path is None):
            raise ValueError("username and password_path: want both or neither")
        parts = urlsplit(self.pages)
        if (
            parts.scheme not in ("http", "https")
            or self.pages != f"{parts.scheme}://{parts.netloc}"
            or "@" in self.pages
            or not parts.hostname
        ):
            raise ValueError(f"pages: {self.pages!r}: want https://host or https://host:port and nothing more")
        if parts.scheme != "https" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
            raise ValueError("pages: want https, or guests' links travel in the clear")
        if len({each.property for each in self.properties}) != len(self.properties):
            raise ValueError("properties: one of them stands there twice")


class WebSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[web]: the folder of the built web files; by default the one in the package."""

    root: Path = Path(__file__).resolve().parent.parent / "web" / "dist"


class LogSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[log]: what to say and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    json: bool = True


class CloudSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    database: DatabaseSettings
    http: HttpSettings = HttpSettings()
    broker: BrokerSettings | None = None
    downlink: DownlinkSettings | None = None
    link: LinkSettings = LinkSettings()
    ingest: IngestSettings = IngestSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    keeping: KeepingSettings = KeepingSettings()
    access_tokens: tuple[AccessTokenSettings, ...] = ()
    pms: tuple[PmsSettings, ...] = ()
    passkeys: PasskeySettings | None = None
    companies: CompanySettings | None = None
    privacy: PrivacySettings | None = None
    payments: tuple[PaymentSettings, ...] = ()
    registration: RegistrationSettings = RegistrationSettings()
    watchlists: tuple[WatchlistSettings, ...] = ()
    webhooks: WebhookSettings = WebhookSettings()
    mail: MailSettings | None = None
    web: WebSettings = WebSettings()
    log: LogSettings = LogSettings()
