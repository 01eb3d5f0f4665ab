"""Modbus TCP: frames and the read planner. See SPEC.md."""
