"""OPERA Cloud through the Oracle Hospitality Integration Platform: tokens, an application key, a queue of events."""
