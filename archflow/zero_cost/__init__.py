"""Zero-cost proxies: measured on untrained networks, and columns of proxy values by name."""
