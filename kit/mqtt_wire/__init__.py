"""Our own MQTT client for the hot path: one read holds many packets, one pass parses them, one write answers them.

`packets` builds, `parser` takes apart, `session` is the client's rules without a socket, `transport` the socket.
"""
