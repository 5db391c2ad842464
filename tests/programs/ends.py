"""A program that ends as its argument says."""

import os
import sys

import requests

match sys.argv[1]:
    case "status":
        sys.exit(int(sys.argv[2]))
    case "message":
        sys.exit("a message")
    case "error":
        raise ValueError("an error")
    case "interrupt":
        raise KeyboardInterrupt
    case "_exit":
        os._exit(9)
    case "closed":
        requests.get("http://127.0.0.1:9/")
    case "auth":
        requests.get("http://127.0.0.1:9/", auth=lambda _: 1 / 0)
