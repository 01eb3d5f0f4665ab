"""Topics: the house's own on the site broker, and Zigbee2MQTT's. See SPEC.md."""
