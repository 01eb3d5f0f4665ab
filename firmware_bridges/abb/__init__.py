"""ABB energy meters, Modbus."""
