"""What we ship to a node: images, compose file, playbooks."""
