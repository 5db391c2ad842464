"""Metrics of token requests for OpenTelemetry (``pip install opentelemetry-sdk``)."""

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from oauthcc import ClientCredentialsSession, Event, TokenObtained
from oauthcc.testing import AuthorizationServer, ProtectedAPI

# In your program the reader is that of an exporter, for example PeriodicExportingMetricReader.
reader = InMemoryMetricReader()
provider = MeterProvider([reader])
meter = provider.get_meter("orders")
seconds = meter.create_histogram("oauth.token.duration", "s", "Time to obtain a token")
events = meter.create_counter("oauth.events", "{event}", "Events of the session")


def observe(event: Event) -> None:
    """Count every event by its type, and record how long tokens take."""
    events.add(1, {"type": type(event).__name__, "client_id": event.client_id})
    if isinstance(event, TokenObtained):
        seconds.record(event.seconds, {"why": event.why})


with AuthorizationServer() as auth, ProtectedAPI(auth) as server:
    client = auth.token_url, auth.client_id, auth.client_secret
    with ClientCredentialsSession(*client, on_event=observe) as api:
        api.get(server.url, timeout=10)
        auth.revoke_all()
        api.get(server.url, timeout=10)

data = reader.get_metrics_data()
assert data is not None
for metric in data.resource_metrics[0].scope_metrics[0].metrics:
    for point in metric.data.data_points:
        print(metric.name, dict(point.attributes or {}), getattr(point, "value", ""))
provider.shutdown()
