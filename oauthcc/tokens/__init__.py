"""The life of a token: when it is fetched, who fetches it, and which token is current."""
