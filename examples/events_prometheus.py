"""Metrics of token requests for Prometheus (``pip install prometheus-client``).

``on_event`` is called with each event. No event contains a secret or a token.
"""

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from oauthcc import ClientCredentialsSession, Event, RenewalFailed, TokenObtained
from oauthcc.testing import AuthorizationServer, ProtectedAPI

registry = CollectorRegistry()
obtained = Histogram(
    "oauth_token_seconds", "Time to obtain a token", ["why"], buckets=[0.5, 5], registry=registry
)
failed = Counter("oauth_renewal_failed", "Tokens not obtained", ["usable"], registry=registry)


def observe(event: Event) -> None:
    """Count an event; `usable` says whether there is still a token that can be used."""
    if isinstance(event, TokenObtained):
        obtained.labels(event.why).observe(event.seconds)
    elif isinstance(event, RenewalFailed):
        failed.labels(event.usable).inc()


with AuthorizationServer() as auth, ProtectedAPI(auth) as server:
    client = auth.token_url, auth.client_id, auth.client_secret
    with ClientCredentialsSession(*client, on_event=observe) as api:
        api.get(server.url, timeout=10)
        auth.answer_next((503, {}, b""), n=None)
        auth.revoke_all()
        api.get(server.url, timeout=10)

print(generate_latest(registry).decode())
