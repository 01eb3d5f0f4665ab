"""Mews: adapter to the Connector API, and an emulator of it that misbehaves by default."""
