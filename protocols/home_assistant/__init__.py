"""What devices announce to Home Assistant over MQTT, read into our own words. See SPEC.md."""
