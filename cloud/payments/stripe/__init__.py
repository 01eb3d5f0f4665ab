"""Stripe: an adapter on its wire, its webhook signature, and an emulator that misbehaves."""
