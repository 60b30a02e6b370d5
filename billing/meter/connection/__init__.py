"""The meter's connection to Redis: one server or a cluster."""
