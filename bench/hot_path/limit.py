"""The limit: raw sockets, one bulk parse a read, one write and fdatasync, then one send of PUBACKs and one of messages.

`python -m bench.hot_path.limit SITE_PORT CLOUD_PORT FILE LINGER_MS`: what a program of 80 lines can do that keeps the
same promise (durable before acknowledged) and none of the others: no schema, no sequence, no ack of the cloud's commit.
"""

import os
import select
import socket
import sys
import time
from pathlib import Path
from typing import Final

import msgspec

from bench.hot_path.payload import FILTER
from kit.mqtt_wire import packets
from kit.mqtt_wire.parser import PacketParser

READ_BYTES: Final = 256 * 1024


def connect(port: int, name: str) -> socket.socket:
    link = socket.create_connection(("127.0.0.1", port))
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    link.sendall(packets.connect(client_id=name, v5=False, clean=True, keepalive_s=0))
    link.recv(4)
    return link


def main(site_port: int, cloud_port: int, path: Path, linger_ms: float) -> None:
    site, cloud = connect(site_port, "limit-in"), connect(cloud_port, "limit-out")
    site.sendall(packets.subscribe(1, [FILTER], v5=False))
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    parser = PacketParser(v5=False, packet_bytes_max=1 << 20)
    decode, encode = msgspec.json.Decoder().decode, msgspec.json.Encoder().encode
    packet_id = 0
    while True:
        ready, _, _ = select.select([site, cloud], [], [])
        if cloud in ready:
            if not cloud.recv(READ_BYTES):
                return
            if site not in ready:
                continue
        if linger_ms:
            time.sleep(linger_ms / 1_000)  # the linger that this limit is asked to have; it serves nobody else
        data = site.recv(READ_BYTES)
        if not data:
            return
        messages, _ = parser.feed(data)
        if not messages:
            continue
        lines: list[bytes] = []
        out: list[bytes] = []
        for topic, payload, _, _ in messages:
            room, device = topic.split(b"/")[1:3]
            said = decode(payload or b"{}")
            line = encode(
                {"room": room.decode(), "device": device.decode(), "t": said["t"], "value": said["temperature"]}
            )
            packet_id = packet_id % 65_535 + 1
            lines.append(line)
            out.append(packets.publish(b"out/" + device, line, packet_id, retain=False, v5=False))
        os.write(log, b"\n".join(lines) + b"\n")
        os.fdatasync(log)
        site.sendall(packets.pubacks([each[2] for each in messages]))
        cloud.sendall(b"".join(out))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), float(sys.argv[4]))
