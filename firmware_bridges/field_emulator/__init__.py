"""All field devices of a property in one process, on the real wires, misbehaving by default. See SPEC.md."""
