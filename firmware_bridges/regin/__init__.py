"""Regin room controllers for fan coils, Modbus. The descriptors say all there is to say."""
