"""A big hotel with guests, weather and faults, held against the truth: `innkeeper rehearse grand`."""
