"""What stands in a kiosk beside its screen: receipt printers, card dispensers, document readers, each on a line."""
