"""Money held, taken and given back by token through a provider; no card number ever comes here."""
