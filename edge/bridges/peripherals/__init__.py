"""Kiosk peripherals: one device on a serial line or a TCP port of its own."""
