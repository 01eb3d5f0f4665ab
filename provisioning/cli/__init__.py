"""The command `innkeeper`."""
