"""Golden vectors: what the bytes are, for Python, TypeScript and firmware. Made by `python -m protocols.vectors.generate`."""
