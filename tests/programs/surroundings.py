"""What a program can see of how it was started."""

import inspect
import os
import sys
import threading

import requests

print(__name__, __file__, sys.argv, sys.path, sys.flags, os.getcwd(), sys.warnoptions)
print(sys.modules["__main__"].__dict__ is globals(), __spec__, __package__, __doc__)
print([frame.function for frame in inspect.stack()], threading.current_thread().name)
print(sorted(name for name in os.environ if "OAUTHCC" in name), os.environ.get("PYTHONPATH"))
print({name.partition(".")[0] for name in sys.modules} & {"typer", "rich", "runpy"})
print(type(requests.__spec__.loader), requests.__loader__ is requests.__spec__.loader)


def fail():
    requests.get("no-scheme")


try:
    fail()
except requests.RequestException:
    print("caught")
    raise
