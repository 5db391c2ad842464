"""An SDK that makes its own session: pysolr."""

import os

import pysolr

solr = pysolr.Solr(os.environ["OAUTH_API_URL"] + "/solr/orders", timeout=10)
print(solr.search("*:*").hits)
