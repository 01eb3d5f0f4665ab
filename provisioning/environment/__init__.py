"""Setting up a checkout on a bare machine: the virtual environment and optional system packages."""
