"""From facts to rows: requests, keys, residuals, and the build that writes them."""
