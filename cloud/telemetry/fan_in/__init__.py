"""Fan-in: what every building publishes, through workers that share the shards, into the ledger, then acknowledged.

`leases` decides who serves which shard and `lease_store` keeps it in PostgreSQL; `keeper` holds a worker's share;
`worker` receives, groups and answers; `ledger` writes one group in one transaction; `opening` turns a batch's inside
into the bytes of a binary COPY.
"""
