"""Foreign lock systems: the desk, the ledger, the settings and mixed estates."""
