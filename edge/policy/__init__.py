"""The small documents that say how this property wants its rooms: loaded whole, or refused whole."""
