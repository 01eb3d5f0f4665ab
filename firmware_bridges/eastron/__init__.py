"""Eastron energy meters, Modbus. The descriptors say all there is to say."""
