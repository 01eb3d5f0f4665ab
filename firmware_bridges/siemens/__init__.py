"""Siemens room thermostats, Modbus."""
