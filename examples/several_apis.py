"""One session for two APIs that need different tokens. Other servers get no token."""

from oauthcc import ClientCredentialsSession
from oauthcc.testing import AuthorizationServer, ProtectedAPI

with (
    AuthorizationServer() as auth,
    ProtectedAPI(auth) as orders,
    ProtectedAPI(auth) as invoices,
    ProtectedAPI(auth) as other,
    ClientCredentialsSession(
        auth.token_url, auth.client_id, auth.client_secret, "orders:read", api_url=orders.url
    ) as session,
):
    orders.require_scope("/", "orders:read")
    invoices.require_scope("/", "invoices:read")
    other.protected = False

    session.add_api(invoices.url, scope="invoices:read")

    for name, api in (("orders", orders), ("invoices", invoices), ("other", other)):
        status = session.get(api.url, timeout=10).status_code
        token = auth.look_up(api.requests[0].token or "")
        print(f"{name}: {status}, {f'a token for {token.scope}' if token else 'no token'}")
