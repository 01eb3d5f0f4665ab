"""Devices with Tasmota, as they speak MQTT. The descriptors say all there is to say."""
