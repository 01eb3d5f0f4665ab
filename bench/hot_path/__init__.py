"""The edge's hot path against its limit and a peer: MQTT QoS 1 JSON in, durable, batch out; and what an outage costs.

`site` stands for the site broker and its devices, `cloud` for the cloud's broker and worker, `line` for the way;
`limit` is what raw sockets and one fdatasync can do, `node_red` a peer. `scenarios` runs them, `figures` makes rows.
"""
