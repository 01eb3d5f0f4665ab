"""The guest's phone: holds a key, finds its door in the adverts, opens it with no network. Library and program."""
