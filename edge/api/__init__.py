"""The local HTTP API: what staff tools, the kiosk and a property engineer ask this building."""
