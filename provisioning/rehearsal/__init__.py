"""A whole property from its inventory: real programs as processes, real sockets, everything outside us emulated."""
