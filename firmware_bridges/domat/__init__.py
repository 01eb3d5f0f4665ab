"""Domat fan-coil controllers, Modbus."""
