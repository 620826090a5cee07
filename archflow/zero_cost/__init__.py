"""Zero-cost proxies: measured on untrained networks, or known in closed form."""
