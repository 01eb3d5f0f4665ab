"""Property management systems: hints, re-reads, cursors, write intents. One adapter a system, emulator beside it."""
