"""What every emulated PMS shares: one hotel, bad manners on seeded dice, and the rehearsal's hand on them."""
