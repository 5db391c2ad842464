"""A program that reports errors to Sentry; it prints the reports instead of sending them.

Sentry replaces parts of the standard library for good, so it has a process of its own.
"""

# ruff: noqa: T201 - its output is what the test reads

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable

import requests
import sentry_sdk
from sentry_sdk.envelope import Envelope
from sentry_sdk.integrations.logging import ignore_logger
from sentry_sdk.scrubber import EventScrubber
from sentry_sdk.transport import Transport

from oauthcc import ClientCredentialsAuth, ClientCredentialsSession

CLIENT = os.environ["TOKEN_URL"], os.environ["CLIENT_ID"], os.environ["CLIENT_SECRET"]
URL = os.environ["API_URL"]
if "WITHOUT_LOG" in os.environ:
    ignore_logger("oauthcc")
label = ""
printed: list[list[str]] = []  # by several threads


class Collecting(Transport):
    def capture_envelope(self, envelope: Envelope) -> None:
        printed.extend(
            [label, item.type, item.payload.get_bytes().decode()]
            for item in envelope.items
            if item.type in ("event", "transaction")
        )


sentry_sdk.init(
    "https://key@sentry.example/1",
    transport=Collecting,
    traces_sample_rate=1.0,
    max_value_length=100_000,
    event_scrubber=EventScrubber(recursive="RECURSIVE" in os.environ),
)


def report(name: str, call: Callable[[], object]) -> None:
    """Call something that fails in a transaction, and report its error with all variables."""
    global label  # noqa: PLW0603 - the transport has no other way to know
    label = name
    with sentry_sdk.start_transaction(name=name):
        try:
            call()
        except Exception as error:  # noqa: BLE001 - all are reported
            sentry_sdk.capture_exception(error)
    for thread in threading.enumerate():
        if thread.name == "oauthcc-flight":  # it may still write to the log
            thread.join(30)
    sentry_sdk.flush()


def fail_after(response: requests.Response) -> None:
    headers = response.request.headers
    raise ValueError(f"{len(headers)} headers were sent, among them {headers}")


session = ClientCredentialsSession(*CLIENT)
report("an error of the program", lambda: fail_after(session.get(f"{URL}/orders")))
session.get(f"{URL}/revoke")
report("after a renewal", lambda: fail_after(session.get(f"{URL}/orders")))
report("no answer", lambda: session.get(f"{URL}/cut"))
plain = requests.Session()
plain.auth = ClientCredentialsAuth(*CLIENT)
report("no answer with auth", lambda: plain.get(f"{URL}/cut"))
session.get(f"{URL}/remove-client")
session.tokens.forget()
report("no token", lambda: session.get(f"{URL}/orders"))
print(json.dumps(printed))
