"""Making devices of a building what its engineer means: asked of the edge's local API."""
