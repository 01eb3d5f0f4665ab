"""Devices of our own design, for what we have no maker's document of: an OPC UA chiller."""
