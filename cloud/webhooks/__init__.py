"""Events out: what happens in a tenant, pushed to its own addresses as Standard Webhooks say."""
