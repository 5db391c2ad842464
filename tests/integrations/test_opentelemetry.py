"""OpenTelemetry, whose instrumentation replaces `requests.Session.send`."""

from __future__ import annotations

import pytest
import requests
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from oauthcc.testing import faults

CAPTURE = "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_CLIENT_REQUEST"
SANITIZE = "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SANITIZE_FIELDS"


@pytest.fixture
def instrument():
    """Return what instruments requests and returns the spans. It is undone after the test."""
    send = requests.Session.send
    exporter = InMemorySpanExporter()

    def begin():
        provider = TracerProvider()  # not the global one, which cannot be replaced later
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        exporter.provider = provider
        RequestsInstrumentor().instrument(tracer_provider=provider)
        return exporter

    yield begin
    RequestsInstrumentor().uninstrument()
    assert requests.Session.send is send


def test_an_instrumented_session_works(session, api, instrument, works_with):
    instrument()
    assert works_with(lambda: session.post(f"{api.url}/x", json={"n": 1})).status_code == 200


def test_a_call_has_one_span_and_so_has_a_token_request_before_it(session, auth, api, instrument):
    spans = instrument()
    session.get(f"{api.url}/orders")
    auth.revoke_all()
    session.get(f"{api.url}/orders")
    found = [
        (span.attributes["http.url"], span.attributes["http.status_code"])
        for span in spans.get_finished_spans()
    ]
    # What happens after a 401 belongs to the span of the call, with the token request.
    orders = f"{api.url}/orders"
    assert found == [(auth.token_url, 200), (orders, 200), (orders, 200)]
    assert len(auth.token_requests) == 2


def test_the_span_of_a_token_request_is_a_child_of_that_of_the_caller(session, api, instrument):
    spans = instrument()
    with spans.provider.get_tracer("the caller").start_as_current_span("orders") as outer:
        session.get(f"{api.url}/orders")
    *inner, _ = spans.get_finished_spans()
    assert [span.parent.span_id for span in inner] == [outer.get_span_context().span_id] * 2


def test_the_context_of_a_span_is_sent_with_the_replay_too(session, auth, api, instrument):
    instrument()
    session.get(f"{api.url}/orders")
    auth.revoke_all()
    session.get(f"{api.url}/orders")
    assert "traceparent" in auth.token_requests[0].headers
    contexts = [seen.headers["traceparent"] for seen in api.requests]
    assert contexts[0] != contexts[1] == contexts[2]


def test_spans_contain_neither_token_nor_secret(session, auth, api, instrument, secrets_in):
    spans = instrument()
    session.get(f"{api.url}/orders")
    auth.revoke_all()
    session.get(f"{api.url}/orders")
    assert "/orders" in "".join(span.to_json() for span in spans.get_finished_spans())
    assert secrets_in("".join(span.to_json() for span in spans.get_finished_spans())) == []


@pytest.mark.parametrize(
    ("sanitize", "found"),
    [("", ["the secret in HTTP Basic", "token 1"]), ("authorization", [])],
)
def test_captured_headers_contain_the_token_if_they_are_not_sanitized(
    session, api, instrument, secrets_in, monkeypatch, *, sanitize, found
):
    monkeypatch.setenv(CAPTURE, ".*")
    monkeypatch.setenv(SANITIZE, sanitize)
    spans = instrument()
    session.get(f"{api.url}/orders")
    text = "".join(span.to_json() for span in spans.get_finished_spans())
    assert "http.request.header.authorization" in text
    assert secrets_in(text) == found


def test_the_span_of_a_call_that_fails_contains_neither_token_nor_secret(
    session, auth, api, instrument, secrets_in
):
    spans = instrument()
    api.answer_next(faults.cut())
    with pytest.raises(requests.ConnectionError):
        session.get(f"{api.url}/orders")
    *_, failed = spans.get_finished_spans()
    assert failed.events[0].name == "exception"
    assert secrets_in(failed.to_json()) == []
