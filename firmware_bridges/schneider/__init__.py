"""Schneider Electric energy meters, Modbus."""
