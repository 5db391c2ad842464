"""The tests of oauthcc: one module per module, and one per promise that spans several."""
