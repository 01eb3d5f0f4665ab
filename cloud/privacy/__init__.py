"""Personal data at rest: sealed under keys of its tenant, which are rotated, and destroyed to forget."""
