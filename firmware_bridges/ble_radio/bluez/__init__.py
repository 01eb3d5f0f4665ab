"""BlueZ emulated: `org.bluez` on a message bus of its own, in front of the emulated air.

So bleak's production back end on Linux, and whatever watches bluetoothd, meet what they meet on a real machine, without
a radio, a kernel with Bluetooth or root. Needs `dbus-daemon` (bus.py) and dbus-fast, which bleak brings on Linux.

Source: the D-Bus interface of BlueZ 5.66 as its manual pages and the back end of bleak 3.1 describe it.
"""
