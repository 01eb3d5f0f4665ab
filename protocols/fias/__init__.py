"""FIAS: what a hotel's own PMS interface speaks on the hotel's own network. SPEC.md beside."""
