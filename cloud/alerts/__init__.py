"""What somebody should look at in the buildings, as their edges say it."""
