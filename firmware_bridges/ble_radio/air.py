"""The virtual air: controllers within reach of each other, and the conditions between them.

bumble's own link delivers everything to everybody at once and forgets what a radio does: here adverts reach only who
listens, packets wait for the next connection event, are lost and repeated, links die, and a program that goes away
takes its connections with it. Corrected against bumble 0.0.236: cancelling a pending connection, HCI reset, two
centrals reaching for one advert, scan responses sent twice, the source address of a peer whose address rotates.

Source: Bluetooth Core 5.4, Vol 6 Part B 4.5 (connection events, supervision), Vol 4 Part E 7.8.12-13.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bumble import hci, link, ll
from bumble.controller import Connection, Controller, LegacyAdvertiser
from bumble.core import PhysicalTransport
from bumble.device import Device, DeviceConfiguration
from bumble.host import Host

from kit.dice import Dice

SUPERVISION_MS: Final = 2_000  # a link whose every event was lost for so long is gone
REPEAT_MS: Final = 30  # what a lost packet costs when no connection interval is set
DROP_WITHIN_MS: Final = 800  # a link doomed to be dropped dies somewhere in its first 0.8 s
ACL_BYTES: Final = 251  # with data length extension; bumble's 27 would only make more HCI packets
RSSI_DBM: Final = -50
HCI_UNIT_MS: Final = 0.625
ADV_DELAY_MS_MOST: Final = 10.0
PACKET_BYTES_MORE: Final = 10  # preamble, access address, header, CRC (Vol 6 Part B 2.1): all of an empty packet
GAP_US: Final = 150  # between two packets, T_IFS (Vol 6 Part B 4.1)
CONTROL_BYTES: Final = 27


@dataclass(slots=True)
class Conditions:
    """How the air behaves; probabilities 0..1, changed at run time."""

    connection_interval_ms: int = 0
    """Packets go out at the next multiple of this since the link was made; 0: at once (no radio works so)."""
    advert_loss: float = 0.0
    packet_loss: float = 0.0
    """Per connection event: lost and repeated at the next one, as the link layer does."""
    late: float = 0.0
    """Per packet: held back by up to `late_ms`, in order."""
    late_ms: int = 120
    drop: float = 0.0
    """Per connection: lost within its first `DROP_WITHIN_MS`."""
    us_per_byte: int = 0
    """8 on the 1M PHY, 4 on 2M: then a connection event carries the packets that fit into the interval, one at least,
    and the rest waits for the next. 0: it carries any number."""

    @property
    def event_us(self) -> float:
        """How long a connection event may last, in microseconds."""
        return self.connection_interval_ms * 1_000 if self.us_per_byte and self.connection_interval_ms else math.inf

    def packet_us(self, size: int) -> int:
        """How long a packet of `size` bytes takes with the empty one that acknowledges it, in microseconds."""
        return self.us_per_byte * (size + 2 * PACKET_BYTES_MORE) + 2 * GAP_US


class Air(link.LocalLink):
    """All controllers that hear each other."""

    controllers: "set[Controller]"

    def __init__(self, *, dice: Dice, conditions: Conditions | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # the library is untyped there
        self.conditions = conditions or Conditions()
        self.dropped_links = 0
        self._dice = dice
        self._lanes: dict[tuple[hci.Address, hci.Address], _Lane] = {}  # by (source, destination)

    def happens(self, probability: float) -> bool:
        """Throw the dice."""
        return probability > 0 and self._dice.uniform(0, 1) < probability

    def throw(self, least: float, most: float) -> float:
        """A number between the two, by this air's dice."""
        return self._dice.uniform(least, most)

    def send_advertising_pdu(self, sender_controller: Controller, packet: ll.AdvertisingPdu) -> None:
        """Adverts go to who listens; connection requests to who advertised, or to nobody."""
        if isinstance(packet, ll.ConnectInd):
            self._connect(sender_controller, packet)
            return
        if not isinstance(packet, ll.AdvInd | ll.AdvExtInd):
            return
        loop = asyncio.get_running_loop()
        for each in self.controllers:
            if each is sender_controller or not isinstance(each, AirController):
                continue
            if each.hears(packet.advertiser_address) and not self.happens(self.conditions.advert_loss):
                loop.call_soon(each.on_ll_advertising_pdu, packet)

    def _connect(self, initiator: Controller, packet: ll.ConnectInd) -> None:
        found = [each for each in self.controllers if _advertises(each, packet.advertiser_address)]
        central, peripheral = packet.initiator_address, packet.advertiser_address
        loop = asyncio.get_running_loop()
        if not found:  # somebody else was faster: the link layer gives up after six empty events
            reason = hci.HCI_CONNECTION_FAILED_TO_BE_ESTABLISHED_ERROR
            loop.call_soon(_end_side, initiator, peripheral, reason)
            return
        # a central that comes again before the end of its last link was heard has plainly left that one
        _end_side(found[0], central, hci.HCI_CONNECTION_TIMEOUT_ERROR)
        found[0].on_ll_advertising_pdu(packet)
        there = _Lane(self, loop.time(), initiator, found[0])
        back = _Lane(self, loop.time(), found[0], initiator)
        there.other, back.other = back, there
        there.way, back.way = (central, peripheral), (peripheral, central)
        self._lanes[there.way], self._lanes[back.way] = there, back
        if self.happens(self.conditions.drop):
            loop.call_later(self._dice.uniform(0, DROP_WITHIN_MS) / 1_000, self.drop, there)

    def send_acl_data(
        self,
        sender_controller: Controller,
        destination_address: hci.Address,
        transport: PhysicalTransport,
        data: bytes,
    ) -> None:
        """Queue a packet for the next connection event."""
        connection = sender_controller.le_connections.get(destination_address)
        if connection is None:
            return
        source = connection.self_address
        lane = self._lanes.get((source, destination_address))
        if lane is not None:
            lane.put(lambda: lane.receiver.on_link_acl_data(source, transport, data), len(data))

    def send_ll_control_pdu(
        self, sender_address: hci.Address, receiver_address: hci.Address, packet: ll.ControlPdu
    ) -> None:
        """Control packets keep their place behind the data that was sent before them."""
        lane = self._lanes.get((sender_address, receiver_address))
        if lane is not None:
            lane.put(lambda: lane.receiver.on_ll_control_pdu(sender_address, packet), CONTROL_BYTES)

    def hold_ms(self) -> float:
        """How long to hold a packet back beyond its event, in milliseconds."""
        if self.happens(self.conditions.late):
            return self._dice.uniform(0, self.conditions.late_ms)
        return 0.0

    def stands(self, lane: "_Lane") -> bool:
        """Whether the sender of `lane` still holds its link."""
        return self._lanes.get(lane.way) is lane

    def drop(self, lane: "_Lane") -> None:
        """Both sides notice that the link is gone (supervision timeout), unless it has ended meanwhile."""
        lanes = [each for each in (lane, lane.other) if each is not None and self.stands(each)]
        self.dropped_links += bool(lanes)
        for each in lanes:
            _end_side(each.sender, each.way[1], hci.HCI_CONNECTION_TIMEOUT_ERROR)

    def drop_all(self, controller: Controller) -> int:
        """Cut every link of `controller`; returns how many there were."""
        lanes = [each for each in self._lanes.values() if each.sender is controller]
        for lane in lanes:
            self.drop(lane)
        return len(lanes)

    def forget(self, connection: Connection) -> None:
        """This side's end of the link is over; what it sent before is still delivered."""
        self._lanes.pop((connection.self_address, connection.peer_address), None)

    def cut_host(self, device: Device) -> int:
        """`drop_all` for a host made by `device_on`."""
        controller = device.host.controller
        return self.drop_all(controller) if isinstance(controller, AirController) else 0


class _Lane:
    """Packets of one direction of one link, in order, waiting for the next connection event."""

    def __init__(self, air: Air, began_s: float, sender: Controller, receiver: Controller) -> None:
        self.sender, self.receiver = sender, receiver
        self.way: tuple[hci.Address, hci.Address] = (hci.Address.ANY, hci.Address.ANY)
        self.other: _Lane | None = None
        self._air, self._began_s = air, began_s
        self._waiting: deque[tuple[Callable[[], None], int]] = deque()
        self._timer: asyncio.TimerHandle | asyncio.Handle | None = None
        self._lost_ms = 0.0

    def put(self, deliver: Callable[[], None], size: int) -> None:
        """Queue one packet of `size` bytes."""
        self._waiting.append((deliver, size))
        if self._timer is None:
            self._arm(self._air.hold_ms())

    def _arm(self, hold_ms: float) -> None:
        loop, interval_s = asyncio.get_running_loop(), self._air.conditions.connection_interval_ms / 1_000
        due_s = loop.time() + hold_ms / 1_000
        if interval_s > 0:
            due_s = self._began_s + (int((due_s - self._began_s) / interval_s) + 1) * interval_s
        elif hold_ms == 0:
            self._timer = loop.call_soon(self._event)
            return
        self._timer = loop.call_at(due_s, self._event)

    def _event(self) -> None:
        self._timer = None
        conditions = self._air.conditions
        if self._air.happens(conditions.packet_loss):
            self._lost_ms += conditions.connection_interval_ms or REPEAT_MS
            if self._lost_ms >= SUPERVISION_MS:
                self._air.drop(self)
            else:
                self._arm(0.0 if conditions.connection_interval_ms else REPEAT_MS)
            return
        self._lost_ms = 0.0
        left_us, first = conditions.event_us, True
        while self._waiting and self.other is not None and self._air.stands(self.other):
            deliver, size = self._waiting[0]
            left_us -= conditions.packet_us(size)
            if left_us < 0 and not first:
                self._arm(0.0)
                return
            first = False
            self._waiting.popleft()
            deliver()
        self._waiting.clear()  # the receiver has left this link


def _end_side(side: Controller, peer: hci.Address, reason: int) -> None:
    if (connection := side.le_connections.get(peer)) is not None:
        side.on_le_disconnected(connection, reason)


def _advertises(controller: Controller, address: hci.Address) -> bool:
    advertiser = controller.le_legacy_advertiser
    return advertiser.enabled and advertiser.address == address


class _Advertiser(LegacyAdvertiser):
    """Keeps the interval it was given (bumble takes HCI's 0.625 ms units for milliseconds), with advDelay."""

    def _on_timer_fired(self) -> None:
        self.send_advertising_data()
        assert isinstance(self.controller, AirController)  # noqa: S101 - only AirController makes one
        wait_ms = self.advertising_interval_min * HCI_UNIT_MS + self.controller.adv_delay_ms()
        self.timer_handle = asyncio.get_running_loop().call_later(wait_ms / 1000, self._on_timer_fired)


class AirController(Controller):
    """One Bluetooth chip: legacy advertising, one scan, one pending connection, a bounded number of links."""

    le_features = Controller.le_features & ~(
        hci.LeFeatureMask.LE_EXTENDED_ADVERTISING | hci.LeFeatureMask.LE_PERIODIC_ADVERTISING
    )
    acl_data_packet_length = ACL_BYTES
    le_acl_data_packet_length = ACL_BYTES

    def __init__(self, name: str, air: Air, *, address: bytes) -> None:
        super().__init__(name, link=air, public_address=hci.Address(address, hci.Address.PUBLIC_DEVICE_ADDRESS))
        self._air = air
        self.le_legacy_advertiser = _Advertiser(self)

    def hears(self, advertiser: hci.Address) -> bool:
        """Whether an advert of `advertiser` means anything to this controller now."""
        pending = self.pending_le_connection
        return self.le_scan_enable or (pending is not None and pending.peer_address == advertiser)

    def adv_delay_ms(self) -> float:
        """The random delay that keeps two advertisers from colliding for ever (Vol 6 Part B 4.4.2.2)."""
        return self._air.throw(0, ADV_DELAY_MS_MOST)

    def on_advertising_pdu(self, pdu: ll.AdvInd | ll.AdvExtInd) -> None:
        """One report an advert: legacy, and no scan response repeating the same data."""
        if self.le_scan_enable:
            report = hci.HCI_LE_Advertising_Report_Event.Report(
                event_type=hci.HCI_LE_Advertising_Report_Event.EventType.ADV_IND,
                address_type=pdu.advertiser_address.address_type,
                address=pdu.advertiser_address,
                data=pdu.data,
                rssi=RSSI_DBM,
            )
            self.send_hci_packet(hci.HCI_LE_Advertising_Report_Event([report]))
        pending = self.pending_le_connection
        if pending is not None and pending.peer_address == pdu.advertiser_address:
            self.create_le_connection(pdu.advertiser_address)

    def on_hci_le_create_connection_cancel_command(
        self, _command: hci.HCI_LE_Create_Connection_Cancel_Command
    ) -> hci.HCI_StatusReturnParameters:
        """Withdraw the pending connection and say so, as 7.8.13 demands (bumble leaves it pending for ever)."""
        if self.pending_le_connection is None:
            return hci.HCI_StatusReturnParameters(hci.HCI_ErrorCode.COMMAND_DISALLOWED_ERROR)
        pending, self.pending_le_connection = self.pending_le_connection, None
        asyncio.get_running_loop().call_soon(
            self.send_hci_packet,
            hci.HCI_LE_Connection_Complete_Event(
                status=hci.HCI_ErrorCode.UNKNOWN_CONNECTION_IDENTIFIER_ERROR,
                connection_handle=0,
                role=hci.Role.CENTRAL,
                peer_address_type=pending.peer_address.address_type,
                peer_address=pending.peer_address,
                connection_interval=0,
                peripheral_latency=0,
                supervision_timeout=0,
                central_clock_accuracy=0,
            ),
        )
        return hci.HCI_StatusReturnParameters(hci.HCI_ErrorCode.SUCCESS)

    def on_hci_reset_command(self, command: hci.HCI_Reset_Command) -> hci.HCI_StatusReturnParameters:
        """Forget scan, adverts, pending connection and links of the host before."""
        self.quiet()
        return super().on_hci_reset_command(command)

    def on_le_disconnected(self, connection: Connection, reason: int) -> None:
        """Tell the host, and forget the lane."""
        super().on_le_disconnected(connection, reason)
        self._air.forget(connection)

    def quiet(self) -> None:
        """Stop everything; peers of open links notice by supervision timeout."""
        self.le_scan_enable, self.pending_le_connection = False, None
        self.le_legacy_advertiser.stop()
        self._air.drop_all(self)

    def leave(self) -> None:
        """Go out of reach for good."""
        self.quiet()
        self.hci_sink = None
        self._air.controllers.discard(self)


def device_on(air: Air, name: str, *, address: bytes, config: DeviceConfiguration | None = None) -> Device:
    """Make a bumble host on a controller of its own in `air`, in this process. Power it on before use.

    Args:
        air: Where.
        name: For logs and the GAP name.
        address: 6 bytes, little-endian, of the controller's public address.
        config: Of the host; `Device` fills in the rest.
    """
    controller = AirController(name, air, address=address)
    config = config or DeviceConfiguration(name=name, address=hci.Address.generate_static_address())
    return Device(config=config, host=Host(controller, controller))
