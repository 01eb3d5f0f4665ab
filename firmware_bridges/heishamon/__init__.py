"""HeishaMon: Panasonic Aquarea heat pumps on the broker."""
