"""Travel documents: the machine readable zone of ICAO Doc 9303, read and written. SPEC.md beside."""
