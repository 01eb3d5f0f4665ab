"""ESPHome nodes, as they speak MQTT."""
