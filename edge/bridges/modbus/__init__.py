"""Modbus TCP buses."""
