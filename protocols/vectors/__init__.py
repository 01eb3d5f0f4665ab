"""Golden vectors: what the bytes are, for Python, TypeScript and firmware. Made by protocols.vectors.generate."""
