"""Sensors that advertise in BTHome v2. The descriptors say all there is to say."""
