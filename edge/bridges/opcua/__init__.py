"""OPC UA servers of the plant. Imports asyncua: only where a property has one."""
