"""Façades to the north: what somebody else's platform reads, each a cursor of its own on the record log."""
