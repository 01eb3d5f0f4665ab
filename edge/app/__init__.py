"""The composition root of the edge: settings, the parts made and joined, the programs of `innkeeper-edge`."""
