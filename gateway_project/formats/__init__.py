"""How dates are written in the console and the portal: the same everywhere, and sortable."""
