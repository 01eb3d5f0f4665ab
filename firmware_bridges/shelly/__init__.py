"""Shelly devices, as they speak MQTT."""
