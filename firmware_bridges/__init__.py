"""Device payload <-> device model: one folder a family, adapter and emulator side by side."""
