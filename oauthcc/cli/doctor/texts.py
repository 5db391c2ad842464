# ruff: noqa: ISC004 - the parts of a text are its lines
"""The texts of all findings by their stable codes: status, what, how it is known, what to do next.

In braces: values of a finding, and names of settings, such as ``{n_secret}``.
"""

from __future__ import annotations

_O, _W, _P, _S = "ok", "warning", "problem", "skipped"
_CA = (
    "Set REQUESTS_CA_BUNDLE to a file with the certificate of the CA that has issued it, such as"
    " the one of your company. If no CA of yours has, ask the operator whether the server sends its"
    " intermediate certificates, and who is between you and it."
)
_LATER = "Try again later, or ask the operator of {place}."
_TOO_LONG = (
    "Ask the operator of {place} whether it is overloaded, and check whether a firewall on the way"
    " drops packets."
)
_PROXY = "Check {variable}, or name the host in NO_PROXY if it is reached without a proxy."
_OPERATOR = "Ask the operator of the authorization server."
_FIX_VARIABLE = "Write {n_secret} again, without it."

TEXTS: dict[str, tuple[str, str, str, str]] = {
    "skipped": (_S, "Not done: {reason}.", "", ""),
    "out_of_time": (
        _S,
        "Not done: the time of the diagnosis was over.",
        "The steps before took {seconds} seconds together.",
        "Correct what is wrong in those, and run this again.",
    ),
    "diagnosis_failed": (
        _P,
        "The diagnosis itself has failed, which is a fault of this command.",
        "{error}",
        "Report this to the authors of oauthcc, without any secret.",
    ),
    # -- the configuration
    "configured": (_O, "The client {client} at {server}, with {method}.", "", ""),
    "missing_variable": (
        _P,
        "{missing} is missing.",
        "It is empty, or not in {place}.",
        "Set {example}.",
    ),
    "misspelled_variable": (
        _P,
        "{given} is set, which has no meaning. {meant} is missing.",
        "The two names are similar.",
        "Write {meant} in the place of {given}.",
    ),
    "unknown_variable": (
        _W,
        "{given} is set, which has no meaning.",
        "Its name is similar to {meant}, which is not set.",
        "If {meant} is meant, write that.",
    ),
    "bad_configuration": (
        _P,
        "The configuration cannot be used.",
        "{error}",
        "Correct what is named there.",
    ),
    "plain_http": (
        _P,
        "The URL of the server begins with http, which would show the secret to everybody on the"
        " way.",
        "{n_server} is {url}.",
        "Write {n_server} with https://.",
    ),
    "secret_unreadable": (
        _P,
        "The file with the secret cannot be read.",
        "{error}",
        "Check the path in {n_secret}, and whether this user may read the file.",
    ),
    "secret_empty": (
        _P,
        "The secret is empty.",
        "There is no character in it, or only spaces.",
        "Put the secret into {n_secret}.",
    ),
    "secret_with_newline": (
        _W,
        "The secret ends with a line break, which was left out.",
        "The last character of {n_secret} is one.",
        "Nothing, if the server accepts the secret. Other programs may send the line break:"
        " write it with printf '%s' in the place of echo.",
    ),
    "secret_with_spaces": (
        _W,
        "The secret begins or ends with a space, which is sent as a part of it.",
        "The first or the last character of {n_secret} is one.",
        "If the space does not belong to the secret: " + _FIX_VARIABLE,
    ),
    "secret_in_quotes": (
        _W,
        "The secret is in quotation marks, which are sent as a part of it.",
        "The first and the last character of {n_secret} are the same mark.",
        "If they do not belong to the secret: " + _FIX_VARIABLE + " Files for Docker and systemd"
        " keep the marks, a shell removes them.",
    ),
    "secret_with_control_character": (
        _P,
        "The secret contains a line break or another character that no secret may contain.",
        "It is in {n_secret}.",
        "Check whether {n_secret} contains more than the secret, and write the secret alone.",
    ),
    # -- the network
    "resolved": (_O, "{host} is {addresses}.", "", ""),
    "unresolvable": (
        _P,
        "The name {host} cannot be resolved.",
        "The system says: {error}.",
        "Check the host in {setting}, and the DNS servers of this machine or container.",
    ),
    "resolver_hanging": (
        _P,
        "The name {host} is not resolved in time.",
        "There was no answer within {seconds} seconds.",
        "Check the DNS servers of this machine or container, for example in /etc/resolv.conf.",
    ),
    "connected": (_O, "{place} accepts connections.", "", ""),
    "connection_refused": (
        _P,
        "Nothing listens at {place}.",
        "The connection was refused: {error}.",
        "Check host and port in {setting}, and whether the server is running.",
    ),
    "unreachable": (
        _P,
        "{place} cannot be reached.",
        "The system says: {error}.",
        "Check the network and the routes of this machine, and the port in {setting}.",
    ),
    "hanging": (
        _P,
        "{place} hangs: it does not answer {question}.",
        "Nothing came within {seconds} seconds.",
        _TOO_LONG,
    ),
    "dripping": (
        _P,
        "{place} is too slow: it begins to answer {question}, and does not end.",
        "The answer was not complete after {seconds} seconds.",
        _TOO_LONG,
    ),
    "connection_broken": (
        _P,
        "{place} closes the connection, or answers something that is not HTTP.",
        "{error}",
        "Check scheme, host and port in {setting}, and ask the operator of {place}.",
    ),
    "proxy_used": (_O, "The proxy {proxy} connects to {place}.", "", ""),
    "proxy_named": (_O, "The proxy {proxy} is used, because {variable} names it.", "", ""),
    "proxy_not_examined": (
        _S,
        "The way through the proxy {proxy} is not looked at, only the request itself.",
        "This command looks into http:// proxies only, and {variable} names another one.",
        "",
    ),
    "bad_proxy_url": (
        _P,
        "The URL of the proxy cannot be read.",
        "It is in {variable}.",
        "Write it as in http://user:password@host:port. In the password, write each special"
        " character as %XX, for example / as %2F.",
    ),
    "dead_proxy": (
        _P,
        "The proxy {proxy} does not work: {fault}.",
        "{variable} names it. {error}",
        _PROXY,
    ),
    "proxy_login": (
        _P,
        "The proxy {proxy} demands a login.",
        "It answered 407 to the demand to connect to {place}. {variable} names it.",
        "Write a user name and a password into {variable}, as in http://user:password@host:port.",
    ),
    "proxy_cannot_connect": (
        _P,
        "The proxy {proxy} does not connect to {place}.",
        "It answered {answer}. {variable} names it.",
        "Ask its operator whether it may connect to this host. " + _PROXY,
    ),
    "trusted": (_O, "The certificate of {host} is good ({version}).", "", ""),
    "bad_ca_bundle": (
        _P,
        "The file with the certificates of the CAs cannot be used.",
        "{bundle}: {error}",
        "Correct REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE: it must be a file in PEM format.",
    ),
    "unknown_ca": (
        _P,
        "The certificate of {host} was issued by a CA that is not known here.",
        "TLS says: {error}. The CAs are those in {bundle}.",
        _CA,
    ),
    "self_signed": (
        _P,
        "The certificate of {host} is self-signed: no CA has issued it.",
        "TLS says: {error}.",
        "Ask the operator of {host} for a certificate of a CA. If this one is really its"
        " certificate, put it into a file, and set REQUESTS_CA_BUNDLE to that.",
    ),
    "wrong_host_name": (
        _P,
        "The certificate is for another host than {host}.",
        "TLS says: {error}.",
        "Check the host in {setting}: it must be a name that is in the certificate. Also a proxy"
        " or a captive portal may answer in its place.",
    ),
    "expired_certificate": (
        _P,
        "The certificate of {host} has expired.",
        "TLS says: {error}. The clock of this machine says {now}.",
        "If the clock is right, ask the operator of {host} for a new certificate.",
    ),
    "certificate_not_yet_valid": (
        _P,
        "The certificate of {host} is not valid yet.",
        "TLS says: {error}. The clock of this machine says {now}.",
        "Check the clock of this machine. If it is right, ask the operator of {host}.",
    ),
    "bad_certificate": (
        _P,
        "The certificate of {host} cannot be trusted.",
        "TLS says: {error}.",
        "Ask the operator of {host}. " + _CA,
    ),
    "client_certificate_demanded": (
        _P,
        "{host} demands a certificate of the client.",
        "{error}.",
        "Use the library with client_auth=TLSClientAuth(cert), or session.cert, which this command"
        " has no option for. Ask the operator whether there is an address without this demand.",
    ),
    "tls_failed": (
        _P,
        "There is no TLS connection to {host}.",
        "TLS says: {error}.",
        "Ask the operator of {host} for its TLS versions, and whether it demands a certificate of"
        " the client.",
    ),
    "not_tls": (
        _P,
        "{place} speaks plain http, not https.",
        "{error}.",
        "Check the port in {setting}, or ask the operator for the https port.",
    ),
    "tls_expected": (
        _P,
        "{place} speaks https, and the URL begins with http.",
        "The port answered a TLS handshake.",
        "Write {setting} with https://.",
    ),
    # -- discovery and the token request
    "discovered": (_O, "The token endpoint is {url}.", "", ""),
    "discovery_failed": (
        _P,
        "The issuer publishes no metadata that can be used.",
        "{error}",
        "Correct {n_server}, or set the token URL in its place.",
    ),
    "method_not_listed": (
        _W,
        "The issuer does not list {method} among its ways to authenticate a client.",
        "Its metadata lists: {listed}.",
        "Nothing, if a token is issued. If not, set {n_method} to one of these.",
    ),
    "token_issued": (_O, "A token was issued.", "", ""),
    "wrong_secret": (
        _P,
        "The authorization server does not accept this client with this secret.",
        "{answer}.",
        "Check {n_client} and {n_secret}. {advice}",
    ),
    "method_not_accepted": (
        _P,
        "The authorization server does not accept {method}, the way in which the client"
        " authenticates.",
        "{answer}. {reason}",
        "{then}",
    ),
    "wrong_path": (
        _P,
        "There is no token endpoint at this URL.",
        "{answer}.",
        "Check the path in {n_server}. The server itself answers.",
    ),
    "redirecting_url": (
        _P,
        "The token URL redirects, and a secret never follows a redirect.",
        "{answer}, to {location}.",
        "If it is a page for people who log in, check the path in {n_server}. If not, set it to the"
        " final URL, if you trust that server.",
    ),
    "login_page": (
        _P,
        "A web page came in the place of a token, perhaps a login page or that of a proxy.",
        "{answer}.",
        "Check {n_server}: it must be the token endpoint, not a page for people.",
    ),
    "empty_answer": (
        _P,
        "The answer of the token endpoint is empty.",
        "{answer}.",
        "Check {n_server}, and ask the operator of the authorization server.",
    ),
    "no_token": (
        _P,
        "There is no token in the answer of the token endpoint.",
        "{answer}. {error}",
        "Check {n_server}, and ask the operator of the authorization server.",
    ),
    "token_type_unknown": (
        _P,
        "The token is of a type that cannot be used: {type}.",
        "{answer}, with this token_type. Only Bearer can be used here.",
        _OPERATOR,
    ),
    "scope_refused": (
        _P,
        "The authorization server refuses the scope {scope}.",
        "{answer}.",
        "Check {n_scope}, and which scopes the server allows this client.",
    ),
    "audience_refused": (
        _P,
        "The authorization server refuses the audience or resource.",
        "{answer}.",
        "Check {n_audience}, and which APIs the server allows this client.",
    ),
    "grant_not_allowed": (
        _P,
        "This client may not use the client credentials grant.",
        "{answer}.",
        "Ask the operator of the authorization server to allow this client the grant type"
        " client_credentials. Check {n_client} too.",
    ),
    "request_refused": (
        _P,
        "The authorization server refuses the token request.",
        "{answer}.",
        "Check {n_server}, {n_client}, {n_scope} and {n_audience}, and how the client is"
        " registered.",
    ),
    "blocked": (
        _P,
        "{place} does not let this client through.",
        "{answer}, without an error of OAuth. A firewall answers so.",
        "Ask the operator whether the address of this machine is allowed.",
    ),
    "rate_limited": (
        _P,
        "{place} has had too many requests.",
        "{answer}. {wait}",
        "Wait, and look for programs that fetch a token for each request.",
    ),
    "unavailable": (
        _P,
        "{place} is unavailable.",
        "{answer}. {wait}",
        _LATER,
    ),
    "server_error": (
        _P,
        "{place} has an error of its own.",
        "{answer}. {wait}",
        _LATER,
    ),
    "token_request_failed": (
        _P,
        "The token request failed.",
        "{error}",
        "Check {n_server}, and the variables that name proxies.",
    ),
    # -- the token
    "scope_granted": (_O, "{scope}.", "", ""),
    "scope_narrowed": (
        _W,
        "The token has less scope than was asked for: {missing} is missing.",
        "Asked for was {asked}, and the server granted {granted}.",
        "If an API needs it, ask the operator of the authorization server to allow this client"
        " {missing}. If not, remove it from {n_scope}.",
    ),
    "lifetime": (_O, "The token is valid for {seconds} seconds.", "", ""),
    "no_expires_in": (
        _W,
        "The server does not say how long the token is valid.",
        "Its answer has no expires_in that is a number of seconds.",
        "It is used until an API refuses it. Ask the operator to send expires_in.",
    ),
    "expired_token": (
        _P,
        "The token had expired already when it was issued.",
        "The expires_in of the answer is {seconds}.",
        "Ask the operator of the authorization server.",
    ),
    "short_lifetime": (
        _W,
        "The token is valid for {seconds} seconds only.",
        "This is the expires_in of the answer.",
        "Each program will ask for tokens very often. Ask the operator for a longer lifetime.",
    ),
    "long_lifetime": (
        _W,
        "The token is valid for {seconds} seconds, which is more than a year.",
        "This is the expires_in of the answer.",
        "Ask the operator whether these are milliseconds.",
    ),
    "clock_right": (_O, "The clocks differ by {seconds} seconds at most.", "", ""),
    "clock_off": (
        _W,
        "The clock of this machine and that of the server differ: the server is {seconds} seconds"
        " {direction}.",
        "The Date of its answer was {theirs}, when it was {ours} here.",
        "Check which of the two is wrong, and synchronise it by NTP: tokens may count as expired or"
        " as not yet valid.",
    ),
    "no_date": (_S, "Not done: the answer has no Date.", "", ""),
    "claims": (_O, "{claims} (not verified).", "", ""),
    "no_jwt": (
        _O,
        "The token is no JWT that can be read: only its API knows what is in it.",
        "",
        "",
    ),
    "exp_contradicts_clock": (
        _W,
        "By its claim exp, the token has expired already.",
        "The claim is {claim}, and it is {now} here.",
        "Check the clock of this machine and that of the authorization server.",
    ),
    "nbf_contradicts_clock": (
        _W,
        "By its claim {name}, the token is not valid yet.",
        "The claim is {claim}, and it is {now} here.",
        "Check the clock of this machine and that of the authorization server.",
    ),
    "audience_mismatch": (
        _P,
        "The token is for another audience.",
        "{reason}",
        "Set {n_audience} to the audience of this API, and ask the operator of the authorization"
        " server whether this client may have it.",
    ),
    # -- the API
    "no_api": (
        _S,
        "No API was asked.",
        "",
        "Set {n_api}, or name a URL: oauthcc doctor https://api.example/orders",
    ),
    "outside_api_url": (
        _P,
        "No token is sent to this URL: it is outside of {n_api}.",
        "{url} is not under one of: {prefixes}.",
        "Add its prefix to {n_api}, or correct the URL. A prefix contains whole path segments.",
    ),
    "plain_http_api": (
        _W,
        "The URL of the API begins with http: everybody on the way can read the token.",
        "{url}",
        "Write https://.",
    ),
    "api_answers": (_O, "{answer}: the token is accepted, or not needed here.", "", ""),
    "api_html": (
        _W,
        "The API answers with a web page.",
        "{answer}.",
        "If this URL should answer with data, check it: this may be a login page.",
    ),
    "api_redirects": (
        _W,
        "The API redirects.",
        "{answer}, to {location}.",
        "Set {setting} to the final URL, or else a redirect may drop the token.",
    ),
    "api_login_page": (
        _P,
        "The API redirects to a login page: it does not look at the token.",
        "{answer}, to {location}.",
        "Check {setting}: this URL is for people with a browser. Ask for the one for programs.",
    ),
    "token_refused": (
        _P,
        "The API refuses the token.",
        "{answer}. {challenge}",
        "Check that this API accepts tokens of this authorization server, and that {n_audience}"
        " and {n_scope} are those of this API.",
    ),
    "no_challenge": (
        _P,
        "The API refuses the token, and has no challenge that says why.",
        "{answer}, without a WWW-Authenticate header. {challenge}",
        "Check that something on the way does not remove the Authorization header, that this API"
        " accepts tokens of this authorization server, and {n_audience}.",
    ),
    "other_scheme": (
        _P,
        "The API wants another authentication than a Bearer token.",
        "{answer}. {challenge}",
        "Check {setting}, and ask its operator whether it accepts Bearer tokens here.",
    ),
    "insufficient_scope": (
        _P,
        "The scope of the token is not sufficient for this URL.",
        "{answer}. {challenge}",
        "Add the scope that the API names to {n_scope}, and ask the operator of the authorization"
        " server to allow it to this client.",
    ),
    "forbidden": (
        _P,
        "The API does not allow this.",
        "{answer}. {challenge}",
        "Ask the operator of the API which scope or role the client needs. A firewall may answer"
        " so too.",
    ),
    "api_request_failed": (
        _P,
        "The request to the API failed.",
        "{error}",
        "Check {setting}.",
    ),
}
