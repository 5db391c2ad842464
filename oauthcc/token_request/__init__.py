"""One request to the authorization server: its configuration, its transport and its answer."""
