"""Devices that announce themselves on the network: DNS service discovery over multicast."""
