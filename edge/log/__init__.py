"""The record log: append-only lanes on SQLite; everything else in the node is a cursor on it."""
