"""OPC UA servers of the plant. Imports asyncua: only where a property has one, and with its ids as one text."""

from edge.bridges.opcua import object_ids

object_ids.install()
