"""OPC UA: node maps and what a status code means here. See SPEC.md."""
