"""Which instances of services have been heard, and what there is to tell of them. Pure and bounded.

Nothing that is announced is believed: it is evidence of a thing that a person may want to bind.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from edge.bridges.mdns.messages import Name, Pointer, Record, Server, Texts

SERVICES_MAX: Final = 500
"""Instances remembered; beyond that nobody new is told until the program starts again."""
PER_SENDER_MAX: Final = 20
"""Of those, as many as one address may announce: one liar must not fill the list."""
TEXTS_TOLD: Final = ("model", "md", "app", "gen", "id", "mac", "board", "version", "ver", "fw_id", "project_name")

DEFAULT_SERVICES: Final = ("_shelly._tcp", "_esphomelib._tcp", "_hap._tcp", "_http._tcp", "_matter._tcp")
_VENDORS: Final = {"_shelly": "Shelly", "_esphomelib": "ESPHome"}


def service_name(text: str) -> Name:
    """Return the full name of a service that is written as `_http._tcp`."""
    return (*text.split("."), "local")


@dataclass(slots=True)
class _Instance:
    sender: str
    told: dict[str, str | int] = field(default_factory=dict)
    shown: int = 0
    """How many facts were told on: each is told once, and what changes later is not news."""


class Services:
    """The instances of `wanted` services heard so far. `refused`: instances for which there was no room."""

    def __init__(self, wanted: Sequence[str]) -> None:
        self._wanted = {_folded(service_name(each)): each for each in wanted}
        self._instances: OrderedDict[Name, _Instance] = OrderedDict()
        self._by_sender: dict[str, int] = {}
        self.refused = 0

    def take(self, records: Iterable[Record], sender: str) -> list[tuple[str, dict[str, str | int]]]:
        """Take what one message told; return name and evidence of every instance that is new or told more.

        Args:
            records: of one message.
            sender: the address that it came from: what its contents say of addresses is not believed.
        """
        ordered = list(records)
        touched: dict[Name, None] = {}
        for record in ordered:
            if isinstance(record, Pointer) and record.ttl_s and (service := self._wanted.get(_folded(record.name))):
                key = _folded(record.target)
                if key[1:] == _folded(record.name) and self._room_for(key, sender):
                    touched[key] = None
                    told = self._instances[key].told
                    told |= {"service": service, "name": record.target[0], "address": sender}
                    if (vendor := _VENDORS.get(service.partition(".")[0])) is not None:
                        told["vendor"] = vendor
        for record in ordered:
            key = _folded(record.name)
            instance = self._instances.get(key)
            if instance is None or instance.sender != sender:
                continue  # nobody speaks for another
            touched[key] = None
            if isinstance(record, Server):
                instance.told.setdefault("port", record.port)
            elif isinstance(record, Texts):
                for name, value in record.pairs:
                    if name in TEXTS_TOLD:
                        instance.told.setdefault("model" if name in ("md", "app") else name, value)
        news: list[tuple[str, dict[str, str | int]]] = []
        for key in touched:
            instance = self._instances[key]
            if len(instance.told) > instance.shown:
                instance.shown = len(instance.told)
                news.append((".".join(key), dict(instance.told)))
        return news

    def _room_for(self, key: Name, sender: str) -> bool:
        instance = self._instances.get(key)
        if instance is not None:
            return instance.sender == sender
        mine = self._by_sender.get(sender, 0)
        if len(self._instances) >= SERVICES_MAX or mine >= PER_SENDER_MAX:
            self.refused += 1
            return False
        self._by_sender[sender] = mine + 1
        self._instances[key] = _Instance(sender)
        return True


def _folded(name: Name) -> Name:
    return tuple(label.lower() for label in name)
