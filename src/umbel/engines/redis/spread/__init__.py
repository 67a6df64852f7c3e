"""A broker that is spread over a Redis Cluster: each queue has a slot of its own."""
