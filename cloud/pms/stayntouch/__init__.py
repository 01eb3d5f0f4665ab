"""StayNTouch Connect: pages of fifty, a token from another host, and no word on a room but its number."""
