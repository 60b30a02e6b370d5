"""What a tenant's own people see: their usage, keys, webhooks and statements, and nobody else's."""
