"""Date formats of console and portal: the same everywhere, and sortable."""
