"""SunSpec information models, Modbus."""
