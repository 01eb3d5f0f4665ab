"""MQTT buses: Zigbee2MQTT on the site broker."""
