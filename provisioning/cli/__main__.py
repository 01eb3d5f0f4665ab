"""`python -m provisioning.cli`: the same as the installed command `innkeeper`."""

from provisioning.cli.main import main

main()
