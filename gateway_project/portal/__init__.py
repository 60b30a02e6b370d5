"""The portal: a tenant's own people see its usage, keys, webhooks and statements."""
