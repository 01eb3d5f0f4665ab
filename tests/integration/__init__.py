"""Programs together, over real sockets."""
