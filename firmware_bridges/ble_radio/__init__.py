"""Bluetooth LE without a radio: bleak backends over bumble, and the air that emulated devices share.

What it answers for: `BumbleClient`/`BumbleScanner` behind bleak's own API (client.py, scanner.py), the one
HCI host that all of a process's scanners and clients share (radio.py), and the virtual air with its controllers,
conditions and TCP ports (air.py). Nothing else in the house imports bumble, and importing this package does not:
only its modules do, and they are imported when the emulated radio was chosen (memory; recipes.md 1).

Source: bleak 3.1 backend interfaces; bumble 0.0.236; Bluetooth Core 5.4, Vol 3 Part C 11, Vol 4 Part E, Vol 6 Part B.
"""
