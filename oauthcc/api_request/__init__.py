"""One request to an API: whether it may carry a token, and what happens after a 401."""
