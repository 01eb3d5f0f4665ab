"""One supervisor a bus: what travels between the buses of the building and the edge, with no device knowledge."""
