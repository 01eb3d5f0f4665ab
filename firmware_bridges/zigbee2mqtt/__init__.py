"""Zigbee devices as Zigbee2MQTT publishes them."""
