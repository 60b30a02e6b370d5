"""The console's pages across apps: the dashboard and a tenant's decisions."""
