"""A rehearsed building: brought up from its inventory, program by program, and taken down again.

Answers for files, ports, certificates and the order of starting. Everything runs as a process of its own over real
sockets; everything that dies is brought back, as systemd would. What happens in the building is the story's business.
"""

import asyncio
import base64
import hashlib
import json
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol

from firmware_bridges.catalogue import load_all
from kit.clock import Clock
from kit.dice import Dice, SeededDice
from protocols.door.bundle import BundleDoor
from protocols.door.identity import LockIdentity
from protocols.errors import InvalidInputError, PlatformError
from protocols.grant.certificate import open_certificate
from protocols.grant.grant import open_grant
from provisioning.inventory import inventory as inventories
from provisioning.inventory.inventory import Inventory
from provisioning.inventory.site_rights import EDGE, site_clients
from provisioning.pki.development_ca import DevelopmentAuthority, IdentityFiles, write_private
from provisioning.rehearsal import state_folder
from provisioning.rehearsal.clients import CloudApi, EdgeApi
from provisioning.rehearsal.control import ControlLine
from provisioning.rehearsal.embedded_postgres import EmbeddedPostgres
from provisioning.rehearsal.emulators import Field, Locks, PmsDesk, Till
from provisioning.rehearsal.identities import DoorIdentities, make_door_identities, make_signing_key
from provisioning.rehearsal.line import Line
from provisioning.rehearsal.nats import Nats, Rights, Tls, cloud_rights, edge_rights, free_port
from provisioning.rehearsal.phone import Guest
from provisioning.rehearsal.programs import ProgramEndedError, Programs
from provisioning.rehearsal.restarts import Restarts
from provisioning.rehearsal.uplink_watch import UplinkWatch

HOST: Final = "127.0.0.1"
UP_WAIT_S: Final = 60.0
POLL_S: Final = 0.05
CHECK_S: Final = 0.5
COMFORT_C: Final = 22.0
SET_BACK_C: Final = 18.0
POLICY: Final[dict[str, Any]] = {
    "v": 1,
    "name": "aurora, rehearsed",
    "version": 1,
    "climate": {
        "set_back_c": SET_BACK_C,
        "away_c": 19.0,
        "expected_c": 20.0,
        "comfort_c": COMFORT_C,
        "warm_up_before": "PT1H",
    },
    "light": {"welcome": True},
    "occupancy": {"vacant_confidence": 0.95},
    "check_in": {"opens_before": "PT6H"},
}
"""Not the shipped default, so that what the story sees at the devices can only come from the document it gave."""
WEEK_S: Final = 7 * 86_400
PMS_POLL: Final = "PT5S"  # the emulated PMS drops hints; a story cannot wait the half minute that a hotel can
RECONNECT_MOST: Final = "PT3S"  # one building behind one broker may come back sooner than a fleet
OBSERVER: Final = "rehearsal-observer"
CLOUD_IDENTITY: Final = "cloud-ingest"
CHECK_IN_STEPS: Final = ("identity", "document", "registration_card", "terms", "room", "grant")
"""What a guest with a link is asked here; the desk gives keys without."""
EDGE_SITE_IDENTITY: Final = EDGE
UNREHEARSED: Final = frozenset({"modbus_tls", "modbus_rtu", "modbus_rtu_tcp", "serial", "raw_tcp"})
ZIGBEE_IDENTITY: Final = "zigbee2mqtt"


class NotUpError(PlatformError):
    """A program did not come up in time. Names it."""


class _Server(Protocol):
    """A database or broker that can be found dead and started again."""

    @property
    def pid(self) -> int | None: ...
    async def start(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Ports:
    """Loopback ports of one run, taken before anything starts so that a program comes back where it was."""

    opcua: int
    radio_control: int
    hci: int
    field_control: int
    pms: int
    payments: int
    events: int
    cloud: int
    edge: int


@dataclass(frozen=True, slots=True)
class LinkPatience:
    """How long the cloud waits for a word before it calls the building silent, then offline; ISO 8601.

    A quiet building is heard every 10 s.
    """

    silent_after: str = "PT25S"
    offline_after: str = "PT1M"


class Building:
    """One building, up and running. Made by `raise_building`."""

    def __init__(
        self,
        inventory: Inventory,
        state: Path,
        sockets: Path,
        *,
        clock: Clock,
        dice: Dice,
        seed: int,
        patience: LinkPatience,
        payments: bool,
    ) -> None:
        self.patience, self._payments = patience, payments
        self.inventory, self.clock, self.dice, self.seed = inventory, clock, dice, seed
        self.folder, self._sockets = state, sockets
        self.ports = Ports(*(free_port(HOST) for _ in Ports.__slots__))
        self.identities: DoorIdentities = make_door_identities(
            inventory.property.id, inventories.doors(inventory), dice
        )
        self.console_token = dice.bytes(24).hex()
        self._guests: list[Guest] = []
        self._keepers: list[asyncio.Task[None]] = []
        # Set while the building is raised, in this order.
        self.programs: Programs
        self.line: Line
        self.postgres: EmbeddedPostgres
        self.brokers: dict[str, Nats]
        self.pms: PmsDesk
        self.till: Till
        self.locks: Locks
        self.field: Field
        self.cloud: CloudApi
        self.edge: EdgeApi
        self.uplink: UplinkWatch

    @property
    def console_address(self) -> str:
        """Where a person looks at the building; the link signs in."""
        return f"http://{HOST}:{self.ports.cloud}/sign-in?token={self.console_token}"

    def check(self) -> None:
        """Raise ProgramEndedError, naming it, if a program or server could not be kept up."""
        self.programs.check()
        for keeper in self._keepers:
            if keeper.done() and not keeper.cancelled() and (error := keeper.exception()) is not None:
                raise error

    async def stay_up(self) -> None:
        """Stay until cancelled; raise ProgramEndedError as soon as a program or server could not be kept up."""
        while True:
            self.check()
            await asyncio.sleep(CHECK_S)

    async def new_guest(self, name: str) -> Guest:
        """Give a new guest a phone."""
        guest = await Guest.start(name, hci=f"tcp-client:{HOST}:{self.ports.hci}", log_folder=self.folder / "logs")
        self._guests.append(guest)
        return guest

    def bundle_for_another_door(self, bundle: dict[str, Any], door: str) -> dict[str, Any]:
        """Return a guest's bundle with the keys of a door that it is not for: what a thief of door keys would hold."""
        lock: LockIdentity = self.identities.locks[door]
        now_s = self.clock.wall_ms() // 1000
        entry = BundleDoor(door, door, lock.door_keys(now_s - WEEK_S, now_s + WEEK_S))
        return {**bundle, "doors": [entry.to_document()]}

    def grant_phone_key(self, bundle: dict[str, Any]) -> str:
        """Return the phone key that a bundle's grant is bound to, read from the bytes that the issuer signed."""
        ca = self.identities.ca
        certificate = open_certificate(base64.b64decode(bundle["issuer_certificate"]), {ca.kid: ca.ca.public_key()})
        return open_grant(base64.b64decode(bundle["grant"]), certificate).phone.hex()

    async def verify(self) -> dict[str, Any]:
        """Run `innkeeper-cloud verify` and return whether it holds, and what it printed."""
        process = await asyncio.create_subprocess_exec(
            *self._program("cloud.app.main", "verify", "--config", self.folder / "config" / "cloud.toml"),
            *("--property", self.inventory.property.id),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()
        return {"complete": process.returncode == 0, "said": said.decode(errors="replace").splitlines()}

    # --- raising ---------------------------------------------------------------------------------------------

    async def _raise(self, stack: AsyncExitStack, say: Callable[[str], None]) -> None:
        config = self.folder / "config"
        config.mkdir(parents=True, exist_ok=True, mode=0o700)
        say("making certificates, lock identities and the site plan")
        for bus in self.inventory.buses:
            if bus.kind in UNREHEARSED:
                raise InvalidInputError(
                    f"buses.{bus.id}", f"is {bus.kind}, which no rehearsal emulates: rehearse it as modbus_tcp"
                )
        site_plan = self._write_plan(config)
        now = datetime.fromtimestamp(self.clock.wall_ms() / 1000, UTC)
        link = DevelopmentAuthority(config / "link-pki", name="innkeeper development link authority", now=now)
        site = DevelopmentAuthority(config / "site-pki", name="innkeeper development site authority", now=now)
        self.postgres = EmbeddedPostgres(self.folder / "postgres")
        self.brokers = {
            "cloud": Nats(self.folder / "broker-cloud", tls=self._cloud_broker_tls(link)),
            "site": Nats(self.folder / "broker-site", tls=self._site_broker_tls(site)),
        }
        self.programs = await stack.enter_async_context(Programs(log_folder=self.folder / "logs", clock=self.clock))
        say("starting PostgreSQL, two brokers and the radio with its locks")
        async with asyncio.TaskGroup() as starting:
            starting.create_task(stack.enter_async_context(self.postgres))
            for broker in self.brokers.values():
                starting.create_task(stack.enter_async_context(broker))
            starting.create_task(self._start_radio(config))
        servers: dict[str, _Server] = {"postgres": self.postgres, **self.brokers}
        for name, server in servers.items():
            keeper = asyncio.create_task(_keep(name, server, self.clock), name=f"keep {name}")
            self._keepers.append(keeper)
            stack.push_async_callback(_end, keeper)
        self.line = await stack.enter_async_context(Line(HOST, self.brokers["cloud"].port))
        observer = link.client(OBSERVER)
        say("starting the PMS, the cloud, the field devices, doors and the edge")
        command_key, command_public = make_signing_key(config, "command")
        await self._start_cloud(config, site_plan, link.client(CLOUD_IDENTITY), command_key)
        await self._start_field(site_plan, site.client(ZIGBEE_IDENTITY))
        await self._start_edge(
            config,
            site_plan,
            link.client(self.inventory.property.edge),
            site.client(EDGE_SITE_IDENTITY),
            command_public,
        )
        self.uplink = await stack.enter_async_context(
            UplinkWatch.open(
                host=HOST,
                port=self.brokers["cloud"].port,
                files=observer,
                edge=self.inventory.property.edge,
                clock=self.clock,
            )
        )
        stack.push_async_callback(self._guests_leave)
        await self._connect_hands(stack)

    def _write_plan(self, config: Path) -> Path:
        addresses = inventories.Addresses(
            modbus={bus.id: (HOST, free_port(HOST)) for bus in self.inventory.buses if bus.kind == "modbus_tcp"},
            opcua_url=f"opc.tcp://{HOST}:{self.ports.opcua}/plant",
        )
        plan = inventories.site_plan(self.inventory, addresses, self.identities.public_parts())
        path = config / "site_plan.json"
        path.write_text(json.dumps(plan, indent=1) + "\n")
        return path

    def _cloud_broker_tls(self, authority: DevelopmentAuthority) -> Tls:
        files = authority.server("cloud-broker")
        edge = self.inventory.property.edge
        rights = [edge_rights(edge), cloud_rights(CLOUD_IDENTITY), Rights(OBSERVER, [], [f"up/+/{edge}/+"])]
        return Tls(files.authority, files.certificate, files.private_key, rights)

    def _site_broker_tls(self, authority: DevelopmentAuthority) -> Tls:
        files = authority.server("site-broker")
        plan = inventories.expanded(self.inventory, Path(self.inventory.property.id))
        edge, *others = site_clients(plan, load_all())
        # One process stands for everything on the broker that is not the edge.
        says = dict.fromkeys(topic for each in others for topic in each.publish)
        hears = dict.fromkeys(topic for each in others for topic in each.subscribe)
        rights = [
            Rights(EDGE_SITE_IDENTITY, list(edge.publish), list(edge.subscribe)),
            Rights(ZIGBEE_IDENTITY, list(says), list(hears)),
        ]
        return Tls(files.authority, files.certificate, files.private_key, rights)

    async def _start_radio(self, config: Path) -> None:
        document = {
            "v": 1,
            "state_dir": str(self.folder / "locks"),
            "locks": [{"door": door, "identity": lock.to_document()} for door, lock in self.identities.locks.items()],
            "control": f"tcp:{HOST}:{self.ports.radio_control}",
            "hci": {"host": HOST, "ports": [self.ports.hci]},
            "seed": self.seed,
        }
        path = config / "radio.json"
        write_private(path, json.dumps(document, indent=1).encode())
        program = self._program("firmware_bridges.innkeeper_lock.emulator", "--config", path)
        await self.programs.start("radio", program, restart=True)
        await self._listening("radio", self.ports.radio_control)

    async def _start_pms(self, cloud_config: Path, site_plan: Path) -> None:
        program = self._program(
            "cloud.app.main",
            *("emulate-pms", "--config", cloud_config, "--port", self.ports.pms, "--seed", self.seed),
            *("--site-plan", site_plan, "--reservations", 0, "--push-to", f"http://{HOST}:{self.ports.cloud}"),
            *("--book", self.folder / "pms.json"),
        )
        await self.programs.start("pms", program, restart=True)
        await self._listening("pms", self.ports.pms)

    async def _start_payments(self, cloud_config: Path) -> None:
        """Start the payment provider; never again once it died: what it held is gone with it."""
        program = self._program(
            "cloud.app.main",
            *("emulate-payments", "--config", cloud_config, "--port", self.ports.payments, "--seed", self.seed),
            *("--push-to", f"http://{HOST}:{self.ports.cloud}"),
        )
        await self.programs.start("payments", program)
        await self._listening("payments", self.ports.payments)

    async def _start_cloud(self, config: Path, site_plan: Path, identity: IdentityFiles, command_key: Path) -> None:
        digest = hashlib.sha256(self.console_token.encode()).hexdigest()
        settings = {
            "database": {"dsn": self.postgres.dsn},
            "http": {"host": HOST, "port": self.ports.cloud},
            "broker": {
                "host": HOST,
                "port": self.brokers["cloud"].port,
                "tls": {
                    "ca_path": identity.authority,
                    "cert_path": identity.certificate,
                    "key_path": identity.private_key,
                },
            },
            "downlink": {"command_key_path": command_key},
            "webhooks": {"private_origins": [f"http://{HOST}:{self.ports.events}"]},
            "link": {"silent_after": self.patience.silent_after, "offline_after": self.patience.offline_after},
            # what guests tell at their check-in is sealed under it; it goes with the folder, as the database does
            "privacy": {"key": "rehearsal", "paths": {"rehearsal": config / "privacy.key"}},
        }
        tables: list[tuple[str, dict[str, Any]]] = [
            (
                "access_tokens",
                {"name": "console", "tenant": self.inventory.property.tenant, "sha256": digest, "role": "admin"},
            ),
            (
                "pms",
                {
                    "property": self.inventory.property.id,
                    "system": "mews",
                    "platform": f"http://{HOST}:{self.ports.pms}",
                    "client_token_path": config / "pms-client.token",
                    "access_token_path": config / "pms-access.token",
                    "webhook_secret_path": config / "pms-webhook.token",
                    "poll": PMS_POLL,
                },
            ),
        ]
        if self._payments:
            tables.append(
                (
                    "payments",
                    {
                        "property": self.inventory.property.id,
                        "secret_key_path": config / "payments-secret.token",
                        "webhook_secret_path": config / "payments-webhook.token",
                        "platform": f"http://{HOST}:{self.ports.payments}",
                    },
                )
            )
            for name in ("secret", "webhook"):
                write_private(config / f"payments-{name}.token", self.dice.bytes(24).hex().encode())
        for name in ("client", "access", "webhook"):
            write_private(config / f"pms-{name}.token", self.dice.bytes(24).hex().encode())
        write_private(config / "privacy.key", self.dice.bytes(32).hex().encode())
        path = config / "cloud.toml"
        write_private(path, toml(settings, tables).encode())
        await self._start_pms(path, site_plan)
        if self._payments:
            await self._start_payments(path)
        for command in (["migrate"], ["load-property", str(site_plan)]):
            await self._once("cloud-" + command[0], self._program("cloud.app.main", *command, "--config", path))
        await self.programs.start("cloud", self._program("cloud.app.main", "run", "--config", path), restart=True)
        self.cloud = CloudApi(
            f"http://{HOST}:{self.ports.cloud}", token=self.console_token, property_id=self.inventory.property.id
        )
        await self._until("cloud", lambda: self.cloud.answers("/ready"))
        if not self._payments:  # whoever rehearses deposits says which
            await self.cloud.ask_guests(CHECK_IN_STEPS)

    async def _start_field(self, site_plan: Path, identity: IdentityFiles) -> None:
        await self.programs.start(
            "field",
            self._program(
                "firmware_bridges.field_emulator",
                *("--site-plan", site_plan, "--control", f"tcp:{HOST}:{self.ports.field_control}"),
                *("--seed", self.seed, "--mqtt-host", HOST, "--mqtt-port", self.brokers["site"].port),
                *("--mqtt-ca", identity.authority, "--mqtt-cert", identity.certificate),
                *("--mqtt-key", identity.private_key),
            ),
            restart=True,
        )
        await self._listening("field", self.ports.field_control)

    async def _start_edge(
        self, config: Path, site_plan: Path, link: IdentityFiles, site: IdentityFiles, command_public: Path
    ) -> None:
        ca_path, secrets_path = self.identities.write_doors_files(config)
        policy_path = config / "policy.json"
        doors = {
            "store_path": self.folder / "doors" / "doors.db",
            "socket_path": self._sockets / "doors.sock",
            "site_plan_path": site_plan,
            "door_secrets_path": secrets_path,
            "property_ca_key_path": ca_path,
            "clock_trust": "host",
            "officers": self.identities.officer_points(),
            "radio": {"kind": "emulated", "hci": f"tcp-client:{HOST}:{self.ports.hci}"},
        }
        edge = {
            "property": self.inventory.property.id,
            "edge": self.inventory.property.edge,
            "data_dir": self.folder / "edge",
            "site_plan_path": site_plan,
            "policy_path": policy_path,
            "head_key_path": make_signing_key(config, "head")[0],
            "clock_trust": "host",
            "api": {"host": HOST, "port": self.ports.edge, "token_path": config / "edge-api.token"},
            "uplink": {
                "host": HOST,
                "port": self.line.port,
                "command_public_key_path": command_public,
                "ca_path": link.authority,
                "cert_path": link.certificate,
                "key_path": link.private_key,
                "link": {"reconnect_most": RECONNECT_MOST},
            },
            "site_broker": {
                "host": HOST,
                "port": self.brokers["site"].port,
                "ca_path": site.authority,
                "cert_path": site.certificate,
                "key_path": site.private_key,
            },
            "doors": {"socket_path": self._sockets / "doors.sock"},
        }
        policy_path.write_text(json.dumps(POLICY, indent=1) + "\n")
        (self.folder / "doors").mkdir(mode=0o700, exist_ok=True)
        token = self.dice.bytes(24).hex()
        write_private(config / "edge-api.token", token.encode())
        # The emulated plant speaks plain text on loopback; the edge wants to be told that this is meant.
        plants = [
            ("bridges.opcua", {"bus": each.id, "policy": "none"})
            for each in self.inventory.buses
            if each.kind == "opcua"
        ]
        for name, command, document in (("doors", "doors", doors), ("edge", "run", edge)):
            path = config / f"{name}.toml"
            path.write_text(toml(document, plants if name == "edge" else []))
            await self.programs.start(name, self._program("edge.app.main", command, "--config", path), restart=True)
        self.edge = EdgeApi("edge", f"http://{HOST}:{self.ports.edge}", token=token)
        await self._until("edge", self.edge.ready)

    async def _connect_hands(self, stack: AsyncExitStack) -> None:
        radio = ControlLine("the radio", HOST, self.ports.radio_control)
        field = ControlLine("the field devices", HOST, self.ports.field_control)
        self.pms = PmsDesk("the PMS", f"http://{HOST}:{self.ports.pms}")
        self.till = Till("the payment provider", f"http://{HOST}:{self.ports.payments}")
        self.locks = Locks(radio)
        rooms = [door.room for door in inventories.doors(self.inventory) if door.number]
        self.field = Field(field, self.clock, SeededDice(self.seed), rooms)
        for each in (radio, field, self.pms, self.till, self.cloud, self.edge):
            stack.push_async_callback(each.close)

    async def _guests_leave(self) -> None:
        for guest in self._guests:
            await guest.stop()

    # --- programs --------------------------------------------------------------------------------------------

    @staticmethod
    def _program(module: str, *arguments: object) -> list[str]:
        return [sys.executable, "-m", module, *(str(argument) for argument in arguments)]

    async def _once(self, name: str, argv: list[str]) -> None:
        program = await self.programs.start(name, argv)
        if program.process is None or await program.process.wait() != 0:
            words = program.log_path.read_text(errors="replace")[-2000:]
            raise NotUpError(f"{' '.join(argv[2:4])} failed: {words}")
        program.wanted = False

    async def _listening(self, name: str, port: int) -> None:
        async def answers() -> bool:
            try:
                _, writer = await asyncio.open_connection(HOST, port)
            except OSError:
                return False
            writer.close()
            return True

        await self._until(name, answers)

    async def _until(self, name: str, answers: Callable[[], Any]) -> None:
        deadline_ms = self.clock.now_ms() + int(UP_WAIT_S * 1000)
        while not await answers():
            self.programs.check()
            if self.clock.now_ms() >= deadline_ms:
                log = self.programs.get(name).log_path
                words = log.read_text(errors="replace")[-1500:] if log.exists() else "it left no log"
                raise NotUpError(f"{name} did not come up in {UP_WAIT_S:g} s: {words}")
            await asyncio.sleep(POLL_S)


@asynccontextmanager
async def raise_building(
    inventory: Inventory,
    state: Path,
    *,
    clock: Clock,
    dice: Dice,
    seed: int,
    say: Callable[[str], None],
    patience: LinkPatience | None = None,
    payments: bool = False,
) -> AsyncIterator[Building]:
    """Bring a building up for the length of the block, with a state folder of its own, emptied first.

    With `payments` it has a payment provider too, emulated, and takes deposits through it.

    Raises:
        NotUpError, ProgramEndedError: a program did not come up; names it and quotes its last words.
        InvalidInputError: `state` holds what no rehearsal left there.
    """
    await asyncio.to_thread(state_folder.emptied, state)
    # A unix socket's path holds 107 bytes at most, so it cannot live under a deep state folder.
    sockets = Path(tempfile.mkdtemp(prefix="ik-"))
    try:
        async with AsyncExitStack() as stack:
            building = Building(
                inventory,
                state,
                sockets,
                clock=clock,
                dice=dice,
                seed=seed,
                patience=patience or LinkPatience(),
                payments=payments,
            )
            await building._raise(stack, say)
            yield building
    finally:
        await asyncio.to_thread(shutil.rmtree, sockets, ignore_errors=True)


async def _keep(name: str, server: _Server, clock: Clock) -> None:
    """Start a server again whenever it is found dead, as its unit file would; ProgramEndedError once that is vain."""
    restarts = Restarts()
    trouble = "it ends again and again"
    while True:
        await asyncio.sleep(POLL_S)
        if server.pid is None:
            wait_s = restarts.next_wait_s(clock.now_ms())
            if wait_s is None:
                raise ProgramEndedError(f"{name} cannot be kept up: {trouble}")
            await asyncio.sleep(wait_s)
            try:
                await server.start()
            except (PlatformError, OSError) as error:
                trouble = str(error)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def toml(tables: dict[str, Any], lists: list[tuple[str, dict[str, Any]]]) -> str:
    """Write settings as TOML: plain keys, tables inside tables, and `[[name]]` entries."""
    lines: list[str] = []

    def table(path: str, content: dict[str, Any]) -> None:
        for key, value in content.items():
            if not isinstance(value, dict):
                lines.append(f"{key} = {json.dumps(value if isinstance(value, int | list) else str(value))}")
        for key, value in content.items():
            if isinstance(value, dict):
                inner = f"{path}.{key}" if path else key
                lines.append(f"[{inner}]")
                table(inner, value)

    table("", tables)
    for name, content in lists:
        lines.append(f"[[{name}]]")
        table(name, content)
    return "\n".join(lines) + "\n"
