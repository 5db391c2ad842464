"""The lines of a case, drawn from a seed.

Most choices are the usual ones, because a shortcut is taken for these, and one or two are odd.
"""

from __future__ import annotations

import random
import string
from typing import NamedTuple

from . import things


class Case(NamedTuple):
    """A drawn case."""

    lines: list[str]
    mixin: str | None
    is_first: bool


PROXY_NAMES = [
    "HTTP_PROXY",
    "http_proxy",
    "Http_Proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "hTTPS_pROXY",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
    "No_Proxy",
    "_proxy",
    "_PROXY",
    "X_PROXY",
    "ftp_proxy",
    "FTP_PROXY",
    "http_proxy_",
    "PROXY",
    "HTTP_PROXY_",
    "xhttp_proxy",
    "HTTP-PROXY",
    "socks_proxy",
    "api_proxy",
    "https://api.example_proxy",
]
PROXY_VALUES = (
    "http://proxy.example:3128",
    "http://u:p@proxy.example",
    "proxy.example:1",
    "",
    " ",
    "socks5://proxy.example",
    "*",
    "api.example",
    ".example",
    "example",
    "other.example, api.example:8443",
    "127.0.0.1,10.0.0.0/8",
    "http://%7e.example",
)
BUNDLE_NAMES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "Requests_Ca_Bundle", "SSL_CERT_FILE")
BUNDLE_VALUES = ("/ca.pem", "", " ", "ca.pem", "0")
OTHER_VARIABLES = (
    "os.environ['REQUEST_METHOD'] = 'GET'",
    "os.environ['REQUEST_METHOD'] = ''",
    "os.environ['HOME'] = '/home'",
    "os.environ['X' * 40] = 'y' * 400",
    "os.environb[b'\\xff_proxy'] = b'http://p.example'",
    "os.environb[b'HTTPS_PROXY'] = b'http://\\xff.example'",
    "os.environb[b'http_proxy'] = b'http://b.example:1'",
    "os.environb[b'https_prox\\xc3\\x9d'] = b'http://b.example:1'",
    "os.environ['https_\\u1d3eroxy'] = 'http://b.example:1'",
    "os.environ['HTTPS_PRO\\u212aY'] = 'http://b.example:1'",
    "fill(60)",
    "os.environ = dict(os.environ)",
    "os.environ = {'https_proxy': 'http://dict.example:1', **os.environ}",
    "os.environ = Dict(os.environ, HTTPS_PROXY='http://dict.example:2', CURL_CA_BUNDLE='/d.pem')",
    "os.environ = another_environ(os.environ)",
    "os.environ = another_environ(os.environ); os.environ['https_proxy'] = 'http://e.example:3'",
    "os.environ = Mapped(os.environ)",
    "os.environ.clear()",
    "os.environ._data = Dict(os.environ._data)",
    "os.environ.pop('https_proxy', None); os.environ.pop('HTTPS_PROXY', None)",
)
TRUST = (
    "session.trust_env = False",
    "session.trust_env = False",
    "session.trust_env = True",
    "session.trust_env = 0",
    "session.trust_env = None",
    "session.trust_env = 'yes'",
)
SESSION = (
    "session.proxies = {'https': 'http://session.example:1'}",
    "session.proxies = {'http': 'http://session.example:2', 'no_proxy': 'api.example'}",
    "session.proxies = {'all': None}",
    "session.proxies = {'https': None}",
    "session.proxies = {'https': ''}",
    "session.proxies = OrderedDict()",
    "session.proxies = OrderedDict(https='http://ordered.example')",
    "session.proxies = Dict()",
    "session.proxies = Mapped()",
    "session.proxies = Mapped({'https': 'http://mapped.example'})",
    "session.proxies = None",
    "session.proxies = ()",
    "session.proxies = []",
    "session.proxies['https'] = 'http://inplace.example'",
    "session.proxies.clear()",
    "session.verify = False",
    "session.verify = '/session-ca.pem'",
    "session.verify = None",
    "session.verify = Str('/session-ca.pem')",
    "session.verify = {'a': 'b'}",
    "session.verify = 1",
    "session.cert = '/cert.pem'",
    "session.cert = ('/cert.pem', '/key.pem')",
    "session.cert = ['/cert.pem', '/key.pem']",
    "session.cert = {'cert': '/c'}",
    "session.stream = True",
    "session.stream = None",
    "session.stream = 0",
    "session.stream = {}",
    "session.params = {'s': '1'}",
    "session.params = {'s': None}",
    "session.params = {}",
    "session.params = Dict(s='1')",
    "session.params = OrderedDict()",
    "session.params = [('s', '1')]",
    "session.params = []",
    "session.params = 's=1'",
    "session.params = None",
    "session.params = Mapped({'s': '1'})",
    "session.params['t'] = ['1', '2']",
    "session.max_redirects = 1",
    "session.max_redirects = 0",
    "session.hooks = {'response': [hook]}",
    "session.hooks = {'response': hook}",
    "session.hooks = {'response': []}",
    "session.hooks = {'response': [marking_hook, hook_of_request]}",
    "session.hooks = {'response': None}",
    "session.hooks = {'response': ()}",
    "session.hooks = {}",
    "session.hooks = None",
    "session.hooks = Dict(response=[])",
    "session.hooks = OrderedDict(response=[])",
    "session.hooks = {'other': [hook]}",
    "session.hooks = {'response': [], 'other': [hook]}",
    "session.hooks['response'].append(marking_hook)",
    "session.hooks['response'].clear()",
    "session.auth = ('u', 'p')",
    "session.auth = Token()",
    "session.auth = plain_auth",
    "session.auth = ()",
    "session.auth = None",
    "session.mount('https://api.example/v1', session.adapters['https://'])",
    "session.adapters.pop('http://', None)",
    "session.get_adapter = lambda url: session.adapters['https://']",
    "session.prepare_request = lambda r: type(session).prepare_request(session, putting(r))",
    "session.merge_environment_settings = lambda *a: {'verify': False}",
    "session.get_redirect_target = lambda r: None",
    "session.rebuild_auth = lambda *a: None",
    "session.send = lambda r, **k: type(session).send(session, r, **{**k, 'timeout': 9})",
    "session.request = lambda m, u, **k: type(session).request(session, 'PATCH', u, **k)",
)
HEADERS = (
    "session.headers['X-A'] = '1'",
    "session.headers['x-a'] = '2'",
    "session.headers['X-A'] = Str('1')",
    "session.headers['X-A'] = b'1'",
    "session.headers[b'X-A'] = '1'",
    "session.headers[Str('X-A')] = '1'",
    "session.headers['X-A'] = None",
    "session.headers['X-A'] = 7",
    "session.headers['X-A'] = ' leading'",
    "session.headers['X-A'] = 'trailing '",
    "session.headers['X-A'] = 'new\\nline'",
    "session.headers['X-A'] = '\\u20ac'",
    "session.headers['X-A'] = 'caf\\xe9'",
    "session.headers['X-A'] = ''",
    "session.headers['X-A'] = []",
    "session.headers['Accept'] = 'text/x'",
    "session.headers['Accept'] = 7",
    "session.headers['Accept'] = ' x'",
    "session.headers['Accept'] = b'x'",
    "session.headers['accept'] = 'new\\nline'",
    "session.headers['User-Agent'] = Str('x')",
    "session.headers['Connection'] = None",
    "session.headers._store['accept'] = ('Accept', 'x\\n')",
    "session.headers['Bad Name '] = '1'",
    "session.headers['Bad:Name'] = '1'",
    "session.headers['N\\xe4me'] = '1'",
    "session.headers[''] = '1'",
    "session.headers['Content-Length'] = '9'",
    "session.headers['Content-Type'] = 'text/x'",
    "session.headers['Transfer-Encoding'] = 'chunked'",
    "session.headers['Cookie'] = 'by=header'",
    "session.headers['Host'] = 'host.example'",
    "session.headers['Authorization'] = 'mine'",
    "session.headers['Proxy-Authorization'] = 'mine'",
    "session.headers.pop('User-Agent', None)",
    "session.headers.clear()",
    "session.headers = {'X-D': '1', 'x-d': '2'}",
    "session.headers = {}",
    "session.headers = dict(session.headers)",
    "session.headers = OrderedDict(A='1')",
    "session.headers = None",
    "session.headers = Headers({'X-H': '1'})",
    "session.headers = requests.structures.CaseInsensitiveDict({'X-C': '1'})",
    "session.headers = requests.structures.CaseInsensitiveDict()",
    "session.headers = Mapped({'X-M': '1'})",
    "session.headers = [('X-L', '1')]",
    "session.headers = session.headers.copy()",
    "session.headers._store['accept'] = ('ACCEPT', '7')",
    "session.headers._store['user-agent'] = ('User-Agent', 7)",
    "session.headers._store['odd'] = ('ODD', 'x')",
    "session.headers._store = OrderedDict([('b', ('B', '1'))])",
    "session.headers._store = {'a': ('A', '1'), 'z': ('a', '2')}",
    "session.headers._store = {'a': ['A', '1']}",
    "session.headers._store['a'] = ('A', '1', 'x')",
    "session.headers.more = 1",
)
JARS = (
    "session.cookies.set('a', '1')",
    "session.cookies.set('a', '1', domain='api.example', path='/')",
    "session.cookies.set('b', '2', domain='other.example')",
    "session.cookies.set('s', '3', domain='api.example', secure=True)",
    "session.cookies.set('e', '4', domain='api.example', expires=1)",
    "session.cookies.set('f', '5', domain='.example', path='/v1')",
    "session.cookies.set('q', 'a \"b\"; c')",
    "session.cookies.set_cookie(cookie('p', port='8443', port_specified=True))",
    "session.cookies.set('a', None)",
    "session.cookies.clear()",
    "session.cookies = CookieJar()",
    "session.cookies = jar(CookieJar, cookie())",
    "session.cookies = Jar()",
    "session.cookies = jar(Jar, cookie())",
    "session.cookies = RequestsCookieJar()",
    "session.cookies = RequestsCookieJar(NoCookies())",
    "session.cookies = {}",
    "session.cookies = {'plain': 'dict'}",
    "session.cookies = None",
    "session.cookies.set_policy(NoCookies())",
    "session.cookies.set_policy(DefaultCookiePolicy(blocked_domains=['api.example']))",
    "session.cookies.mine = 1",
    "session.cookies._cookies['api.example'] = {}",
    "session.cookies._cookies = OrderedDict()",
    "session.cookies._now = 5",
)
PATCHES = (
    "patch(requests.sessions, 'get_environ_proxies', {how}, noting)",
    "patch(requests.sessions, 'get_environ_proxies', {how}, lambda f, *a, **k: {{'https': 'http://patched.example'}})",
    "patch(requests.utils, 'get_environ_proxies', {how}, noting)",
    "patch(requests.utils, 'should_bypass_proxies', {how}, noting)",
    "patch(requests.utils, 'getproxies', {how}, lambda f: {{'https': 'http://patched.example'}})",
    "patch(requests.utils, 'proxy_bypass', {how}, noting)",
    "patch(requests.sessions, 'merge_setting', {how}, noting)",
    "patch(requests.sessions, 'merge_hooks', {how}, noting)",
    "patch(requests.sessions, 'merge_cookies', {how}, noting)",
    "patch(requests.sessions, 'cookiejar_from_dict', {how}, noting)",
    "patch(requests.models, 'cookiejar_from_dict', {how}, noting)",
    "patch(requests.models, 'get_cookie_header', {how}, noting)",
    "patch(requests.models, 'check_header_validity', {how}, noting)",
    "patch(requests.models, 'to_native_string', {how}, noting)",
    "patch(requests.models, 'parse_url', {how}, noting)",
    "patch(requests.models, 'requote_uri', {how}, noting)",
    "patch(requests.models, 'urlunparse', {how}, noting)",
    "patch(requests.models, 'get_auth_from_url', {how}, noting)",
    "patch(requests.models, 'super_len', {how}, noting)",
    "patch(requests.sessions, 'RequestsCookieJar', Jar)",
    "patch(requests.sessions, 'CaseInsensitiveDict', Headers)",
    "patch(requests.models, 'CaseInsensitiveDict', Headers)",
    "patch(requests.sessions, 'OrderedDict', Ordered)",
    "patch(requests.sessions, 'Request', OtherRequest)",
    "patch(requests.sessions, 'PreparedRequest', OtherPrepared)",
    "patch(requests.models, 'PreparedRequest', OtherPrepared)",
)
PATCHED_METHODS = {
    "requests.Session": "request prepare_request merge_environment_settings get_adapter"
    " rebuild_proxies rebuild_method get_redirect_target resolve_redirects",
    "requests.PreparedRequest": "__init__ prepare prepare_method prepare_url prepare_headers"
    " prepare_cookies prepare_body prepare_auth prepare_hooks prepare_content_length",
    "requests.Request": "__init__",
    "requests.cookies.RequestsCookieJar": "update set_cookie copy get_policy __init__",
}
INHERITED = (
    ("requests.Session", "get_redirect_target"),
    ("requests.Session", "rebuild_proxies"),
    ("requests.Session", "rebuild_method"),
    ("requests.Session", "resolve_redirects"),
    ("requests.PreparedRequest", "_encode_params"),
    ("requests.PreparedRequest", "register_hook"),
)
HOWS = ("by_assignment", "by_wraps", "Wrapped")
#: What changes while a call runs.
EFFECTS = (
    "session.headers['X-New'] = 'late'",
    "session.headers['X-New'] = 7",
    "session.headers = {'X-Other': 'late'}",
    "session.headers._store['user-agent'] = ('User-Agent', 'late')",
    "session.cookies.set('late', '1')",
    "session.cookies = RequestsCookieJar()",
    "session.cookies = jar(Jar, cookie('late'))",
    "session.params = {'late': '1'}",
    "session.proxies = {'https': 'http://late.example:1'}",
    "session.proxies['https'] = 'http://late.example:2'",
    "session.verify = '/late.pem'",
    "session.stream = True",
    "session.cert = '/late-cert.pem'",
    "session.hooks = {'response': [marking_hook]}",
    "session.hooks['response'].append(marking_hook)",
    "session.trust_env = False",
    "session.trust_env = True",
    "session.max_redirects = 0",
    "os.environ['HTTPS_PROXY'] = 'http://late.example:3'",
    "os.environ['http_proxy'] = 'http://late.example:4'",
    "os.environ['NO_PROXY'] = '*'",
    "os.environ['REQUESTS_CA_BUNDLE'] = '/late-ca.pem'",
    "os.environ['NETRC'] = netrc('anywhere')",
    "os.environ = {'https_proxy': 'http://late.example:5'}",
    "os.environ.clear()",
    "patch(requests.sessions, 'get_environ_proxies', lambda *a, **k: {'https': 'http://late.example:6'})",
    "patch(requests.utils, 'getproxies', lambda: {'https': 'http://late.example:7'})",
    "patch(requests.sessions, 'merge_setting', by_wraps, noting)",
    "patch(requests.sessions, 'merge_cookies', by_wraps, noting)",
    "patch(requests.sessions, 'merge_hooks', by_wraps, noting)",
    "patch(requests.sessions, 'PreparedRequest', OtherPrepared)",
    "patch(requests.Session, 'merge_environment_settings', by_wraps, noting)",
    "patch(requests.PreparedRequest, 'prepare_url', by_wraps, noting)",
    "patch(requests.PreparedRequest, 'prepare_headers', by_wraps, noting)",
    "patch(requests.PreparedRequest, 'prepare_cookies', by_wraps, noting)",
    "patch(requests.PreparedRequest, 'prepare_body', by_wraps, noting)",
    "patch(requests.PreparedRequest, 'prepare_auth', by_wraps, noting)",
    "patch(requests.PreparedRequest, 'prepare_hooks', by_wraps, noting)",
    "patch(requests.models, 'check_header_validity', by_wraps, noting)",
    "session.merge_environment_settings = lambda *a: {'verify': '/instance.pem'}",
    "session.get_redirect_target = lambda r: None",
    "session.mount('https://', session.adapters['https://'])",
    "raise LookupError('from an effect')",
)
#: Arguments that a shortcut may take.
USUAL = (
    "kw['params'] = {'a': 'b c', 'n': 7, 't': True, 'x': None}",
    "kw['headers'] = {'X-B': '1', 'accept': 'text/x'}",
    "kw['json'] = {'a': 1}",
    "kw['verify'] = False",
)
#: Arguments of a call.
ARGUMENTS = {
    "params": (
        "{}",
        "None",
        "{'a': 'b'}",
        "{'a': ['1', '2'], 'b': None}",
        "[('a', '1'), ('a', '2')]",
        "[]",
        "'a=b'",
        "b'a=b'",
        "''",
        "{'a': None}",
        "{'\\xe9': '\\u20ac'}",
        "{'a b': 'c&d'}",
        "{'a': ''}",
        "Dict(a='b')",
        "Dict()",
        "OrderedDict(a='b')",
        "Mapped({'a': 'b'})",
        "Mapped()",
        "{'a': 7}",
        "{b'a': b'b'}",
        "{'a': ('1', None)}",
        "{'a': []}",
        "{'': ''}",
        "{'a': '~.-_'}",
        "7",
        "()",
        "{'a': b'\\xff'}",
        "{'a': {'b': 'c'}}",
        "{'a': Str('b')}",
        "'\\xe9'",
        "'a b'",
        "'%'",
        "{'a': True}",
        "on(EffectDict(a='b'), {effect})",
        "on(EffectMapping({'a': 'b'}), {effect})",
        "{'a': on(EffectList('12'), {effect})}",
        "on(EffectTruth(False), {effect})",
    ),
    "headers": (
        "{}",
        "None",
        "{'X-B': '1'}",
        "{'x-a': '9'}",
        "{'X-B': '1', 'x-b': '2'}",
        "{'X-B': None}",
        "{'User-Agent': None}",
        "{'user-agent': 'mine'}",
        "{'Accept': b'x'}",
        "{b'X-B': '1'}",
        "{Str('X-B'): '1'}",
        "{'X-B': Str('1')}",
        "{'X-B': 7}",
        "{'X-B': ' 1'}",
        "{'X-B': '1\\n'}",
        "{'X-B': 'a\\r\\nX-C: 2'}",
        "{'X-B': '\\u20ac'}",
        "{'X\\u20ac': '1'}",
        "{'X-B ': '1'}",
        "{'': '1'}",
        "{'X-B': ''}",
        "{'X-B': '\\t'}",
        "{'X-B': []}",
        "[('X-B', '1')]",
        "[]",
        "()",
        "''",
        "'X-B'",
        "requests.structures.CaseInsensitiveDict({'X-B': '1'})",
        "Headers({'x-a': None})",
        "OrderedDict([('Z', '1'), ('A', '2')])",
        "Dict({'X-B': '1'})",
        "Mapped({'X-B': '1'})",
        "{'Cookie': 'by=call'}",
        "{'cookie': ''}",
        "{'Content-Length': '5'}",
        "{'Content-Type': 'a/b'}",
        "{'Authorization': 'mine'}",
        "{'Authorization': None}",
        "{'authorization': b'mine'}",
        "{'Host': 'h.example'}",
        "{'Transfer-Encoding': 'chunked'}",
        "{7: '1'}",
        "{None: '1'}",
        "{'\\u212aelvin': '1', 'kelvin': '2'}",
        "{'\\u0130': '1', 'i\\u0307': '2'}",
        "on(EffectDict({'X-B': '1'}), {effect})",
        "on(EffectMapping({'X-B': '1'}), {effect})",
        "{on(EffectStr('X-B'), {effect}): '1'}",
        "{'X-B': on(EffectStr('1'), {effect})}",
        "session.headers",
    ),
    "cookies": (
        "{}",
        "None",
        "{'k': '1'}",
        "{'k': None}",
        "[]",
        "[('k', '1')]",
        "''",
        "OrderedDict(k='1')",
        "RequestsCookieJar()",
        "CookieJar()",
        "jar(RequestsCookieJar, cookie('k'))",
        "jar(CookieJar, cookie('k'))",
        "jar(Jar, cookie('k'))",
        "Jar()",
        "jar(RequestsCookieJar, cookie('k', domain='other.example'))",
        "jar(RequestsCookieJar, cookie('k', secure=True))",
        "session.cookies",
        "Mapped(k='1')",
        "RequestsCookieJar(NoCookies())",
        "{'k': '1 2'}",
        "{'\\xe9': '\\xe9'}",
        "{7: 7}",
        "on(EffectJar(), {effect})",
        "on(EffectDict(k='1'), {effect})",
        "on(EffectTruth(False), {effect})",
    ),
    "data": (
        "None",
        "{}",
        "[]",
        "''",
        "b''",
        "{'a': 'b'}",
        "[('a', 'b'), ('a', 'c')]",
        "'text'",
        "b'bytes'",
        "'\\xe9'",
        "generated()",
        "Chunks()",
        "Sized()",
        "io.BytesIO(b'abc')",
        "io.BytesIO()",
        "Untold(b'abc')",
        "io.StringIO('abc')",
        "Dict()",
        "Dict(a='b')",
        "Str('s')",
        "Bytes(b'')",
        "bytearray(b'ab')",
        "()",
        "7",
        "0",
        "False",
        "{'a': None}",
        "{'a': ['1', '2']}",
        "iter(())",
        "memoryview(b'ab')",
        "Mapped()",
        "Mapped({'a': 'b'})",
        "OrderedDict()",
        "on(EffectFile(b'abc'), {effect})",
        "on(EffectDict(a='b'), {effect})",
        "on(EffectTruth(False), {effect})",
        "on(EffectList([('a', 'b')]), {effect})",
        "object()",
    ),
    "json": (
        "None",
        "{}",
        "[]",
        "0",
        "''",
        "'text'",
        "{'a': 1}",
        "{'\\xe9': '\\u20ac'}",
        "[None, True]",
        "float('nan')",
        "{1, 2}",
        "Dict(a=1)",
        "Str('s')",
        "False",
        "{'a': on(EffectDict(b=1), {effect})}",
        "object()",
    ),
    "files": (
        "None",
        "{}",
        "[]",
        "()",
        "Dict()",
        "Mapped()",
        "on(EffectTruth(False), {effect})",
        "[('a', 'not a pair', 'x')]",
        "7",
    ),
    "auth": (
        "None",
        "('u', 'p')",
        "['u', 'p']",
        "('u',)",
        "()",
        "Token()",
        "plain_auth",
        "body_auth",
        "('\\u20ac', 'p')",
        "on(EffectAuth(), {effect})",
        "requests.auth.HTTPDigestAuth('u', 'p')",
        "False",
        "7",
        "{'a': 'b'}",
        "on(EffectTruth(False), {effect})",
        "requests.auth.HTTPProxyAuth('u', 'p')",
    ),
    "hooks": (
        "None",
        "{}",
        "{'response': hook}",
        "{'response': [hook]}",
        "{'response': []}",
        "{'response': None}",
        "{'response': [hook, marking_hook]}",
        "{'other': hook}",
        "{'response': ()}",
        "{'response': 7}",
        "Dict()",
        "OrderedDict(response=hook)",
        "{'response': failing_hook}",
        "{'response': hook_of_request}",
        "[]",
        "{'response': on(EffectHook(), {effect})}",
        "on(EffectDict(response=[hook]), {effect})",
        "on(EffectTruth(False), {effect})",
    ),
    "proxies": (
        "{}",
        "None",
        "{'https': 'http://call.example:1'}",
        "{'https': None}",
        "{'http': ''}",
        "{'all': 'http://a.example'}",
        "{'https://api.example': 'http://host.example'}",
        "{'no_proxy': '*'}",
        "{'no': 'api.example'}",
        "OrderedDict()",
        "OrderedDict(https='http://o.example')",
        "Dict()",
        "Dict(https='http://d.example')",
        "Mapped()",
        "Mapped({'https': 'http://m.example'})",
        "[]",
        "()",
        "[('https', 'http://l.example')]",
        "''",
        "0",
        "session.proxies",
        "on(EffectDict(), {effect})",
        "on(EffectDict(https='http://d.example'), {effect})",
        "on(EffectMapping(), {effect})",
    ),
    "verify": (
        "None",
        "True",
        "False",
        "'/call-ca.pem'",
        "''",
        "0",
        "1",
        "1.0",
        "Str('/ca.pem')",
        "b'/ca.pem'",
        "{}",
        "{'a': 'b'}",
        "[]",
        "on(EffectTruth(True), {effect})",
        "Dict()",
        "object()",
        "Mapped({'a': 'b'})",
    ),
    "cert": (
        "None",
        "'/c.pem'",
        "('/c.pem', '/k.pem')",
        "['/c.pem', '/k.pem']",
        "''",
        "()",
        "False",
        "{}",
        "{'c': 'k'}",
        "Str('/c.pem')",
        "{'a': None}",
        "7",
        "on(EffectDict(c='k'), {effect})",
    ),
    "stream": ("None", "True", "False", "0", "1", "''", "{}", "'yes'", "{'a': 'b'}"),
    "timeout": ("None", "1", "0.5", "(1, 2)", "(None, 2)", "(1,)"),
    "allow_redirects": (
        "True",
        "False",
        "0",
        "None",
        "1",
        "'yes'",
        "on(EffectTruth(True), {effect})",
    ),
}
METHODS = (
    "'GET'",
    "'GET'",
    "'GET'",
    "'GET'",
    "'GET'",
    "'POST'",
    "'POST'",
    "'PUT'",
    "'PATCH'",
    "'DELETE'",
    "'HEAD'",
    "'OPTIONS'",
    "'get'",
    "'Post'",
    "'CUSTOM'",
    "'head'",
    "'M\\xe9THOD'",
    "''",
    "b'GET'",
    "None",
    "7",
    "Str('GET')",
    "Bytes(b'POST')",
    "on(EffectStr('get'), {effect})",
    "on(EffectStr('POST'), {effect})",
    "'stra\\xdfe'",
    "'get '",
)
PLAIN_URLS = (
    "https://api.example/",
    "https://api.example/v1/items",
    "https://api.example/v1/items?a=1&b=2",
    "https://api.example/v1/items?q=%20x",
    "https://api.example:8443/v1",
    "https://api.example/v1/a-b_c~d.e",
    "http://api.example/v1",
    "https://127.0.0.1:8443/x",
)
ODD_URLS = (
    "https://api.example",
    "HTTPS://API.EXAMPLE/X",
    "https://API.example/x",
    "HttP://api.example/",
    "https://u:p@api.example/x",
    "https://u@api.example/",
    "https://:p@api.example/",
    "https://@api.example/",
    "https://u:p%40@api.example/",
    "http://u:p@other.example/",
    "https://api.example:443/",
    "http://api.example:80/x",
    "https://api.example:0/",
    "https://api.example:/",
    "https://api.example:65535/",
    "https://api.example:65536/",
    "https://api.example:008443/",
    "https://api.example:8443x/",
    "https://api.example:-1/",
    "https://api.example: 1/",
    "https://api.example/a b",
    "https://api.example/a\tb",
    "https://api.example/a\nb",
    " https://api.example/x",
    "\thttps://api.example/x",
    "https://api.example/x ",
    "\u00a0https://api.example/",
    "\ufeffhttps://api.example/",
    "\x1fhttps://api.example/",
    "https://api.example/\x00",
    "https://api.example/\x7f",
    "https://api.example/%7e",
    "https://api.example/%7E%41%2d",
    "https://api.example/%2F%2f",
    "https://api.example/%",
    "https://api.example/%zz",
    "https://api.example/%4",
    "https://api.example/%25",
    "https://api.example/%C3%A9",
    "https://api.example/%c3%a9?%c3=%20",
    "https://api.example/\xe9",
    "https://api.example/?\u20ac=1",
    "https://api.example/./x",
    "https://api.example/a/../b",
    "https://api.example/..",
    "https://api.example/.",
    "https://api.example/a/.",
    "https://api.example/.a",
    "https://api.example/a/..b",
    "https://api.example/%2e/x",
    "https://api.example/%2E%2E/x",
    "https://api.example//x",
    "https://api.example//",
    "https://api.example///x//",
    "https://api.example/?",
    "https://api.example?",
    "https://api.example?a=b",
    "https://api.example/x?&",
    "https://api.example/x?a=/../b",
    "https://api.example/x?a=/./b",
    "https://api.example/x??",
    "https://api.example/#",
    "https://api.example/x#frag",
    "https://api.example#frag",
    "https://api.example/x?a#b?c",
    "https://api.example/x#\xe9",
    "https://api.example/x;p=1",
    "https://api.example/;",
    "https://api.example/x?a=[1]",
    "https://api.example/[x]",
    "https://[::1]/x",
    "https://[::1]:8443/",
    "http://[FE80::1%25eth0]/",
    "http://[::1",
    "http://::1]/",
    "https://[v1.x]/",
    "https://[1.2.3.4]/",
    "https://\u00e9.example/",
    "https://xn--9ca.example/",
    "https://b\u00fccher.example/\xfc",
    "https://\u212belvin.example/",
    "https://ex\u3002ample/",
    "https://a\u00adb.example/",
    "https://api.example\u2100/",
    "https://\uff41pi.example/",
    "mailto:me@api.example",
    "data:,x",
    "api.example/x",
    "//api.example/x",
    "/x",
    "",
    " ",
    "https://",
    "https:///x",
    "https:api.example",
    "https:/api.example/",
    "http",
    "http:",
    "httpx://api.example/",
    "http+unix://x/y",
    "ftp://api.example/",
    "HTTPSX://api.example/",
    "file:///x",
    "localhost:80",
    "127.0.0.1:80/x",
    "https://*.api.example/",
    "https://*/",
    "https://.api.example/",
    "https://api..example/",
    "https://api.example./",
    "https://a_b.example/",
    "https://-a.example/",
    "https://a-.example/",
    "https://a,b.example/",
    "https://a b.example/",
    "https://a%20b.example/",
    "https://a%41.example/",
    "https://api.example\\x",
    "https://api.example/\\x",
    "https://api.example\\@other.example/",
    "https://1.2.3.4/",
    "https://1/",
    "https://0x7f.1/",
    "https://010.1.1.1/",
    "https://127.0.0.1/x",
    "http://127.1/",
    "http://localhost/",
    "http://localhost:8080/x",
    "https://" + "a" * 63 + ".example/",
    "https://" + "a" * 64 + ".example/",
    "https://" + "a." * 130 + "example/",
    "https://" + "a" * 254 + "/",
    "https://" + "a" * 255 + "/",
    "https://" + "a" * 256 + "/",
    "https://api.example/" + "x" * 3000,
    "https://other.example/x",
    "http://other.example/x?y=z",
    "https://third.example:1/",
    "https://api.example/x|y",
    "https://api.example/{x}",
    "https://api.example/'x'",
    'https://api.example/"x"',
    "https://api.example/<x>",
    "https://api.example/x^y",
    "https://api.example/x`y",
    "https://api.example/!$&'()*+,=:@",
    "https://api.example/x\r\nX: 1",
    "https://api.example/\ud800",
    "https://api.example/?\ud800",
    "https://api.example/x\n",
    "https://api.example\n/",
    "https://api.example/\u2028",
    "https://api.example:8443\n/",
    "https://\u0661.example/",
    "https://api.example:\u0661/",
    "https://api.example:8443/?a=1#",
    "https://api.example:99999/x",
)
#: What is hard for those who look for the proxies of a URL.
URLS_OF_PROXIES = (
    "https://api.example",
    "https://api.exampl/",
    "https://api.example?/",
    "https://u:p@api.example/",
    "https://u:/@api.example/",
    "HTTPS://API.EXAMPLE/",
    "https://api.example\u2100/",
    "http://[::1",
    "http://::1]/",
    "https://[v1.x]/",
    "https://api.example:x/",
    "https://api.example:99999/",
    "http:///x",
    "x",
)
URL_KINDS = (
    "{url}.encode()",
    "Str({url})",
    "Written({url})",
    "Bytes({url}.encode())",
    "on(EffectStr({url}), {effect})",
    "None",
    "7",
    "bytearray({url}.encode())",
)
LETTERS = string.ascii_letters + string.digits
ODD_LETTERS = (
    LETTERS[::3] + "/././/..?&=%%%~-_+*;:@!$'(),#[]| \xe9\\^\"<>{}`" + "0123456789abcdefABCDEF"
)
ANSWERS = (
    "answers.append((302, {'Location': '/next'}, ''))",
    "answers.append((302, {'Location': '/next'}, ''))",
    "answers.append((301, {'Location': 'https://api.example/moved?x=1'}, ''))",
    "answers.append((303, {'Location': 'https://other.example/'}, ''))",
    "answers.append((307, {'Location': 'relative#f'}, ''))",
    "answers.append((308, {'Location': 'http://api.example/x'}, ''))",
    "answers.append((302, {'Location': '//other.example/y z'}, ''))",
    "answers.append((302, {'Location': 'https://u:p@other.example/'}, ''))",
    "answers.append((302, {'Location': ''}, ''))",
    "answers.append((302, {'Location': 'ftp://other.example/'}, ''))",
    "answers.append((302, {'Location': 'https://['}, ''))",
    "answers.append((302, {'Location': '\\xc3\\xa9?\\xe9'}, ''))",
    "answers.append((302, {'Location': '/a', 'Set-Cookie': 'hop=1; Path=/'}, ''))",
    "answers.append((302, {}, ''))",
    "answers.append((300, {'Location': '/x'}, ''))",
    "answers.append((304, {'Location': '/x'}, ''))",
    "answers.append((200, {'Location': '/x'}, ''))",
    "answers.append((201, {'Location': '/x', 'X-Go': '/gone'}, ''))",
    "answers.append((200, {'X-Go': 'https://api.example/gone'}, ''))",
    "answers.append((200, {'Set-Cookie': 'set=1; Path=/'}, ''))",
    "answers.append((200, {'Set-Cookie': 'set=1; Domain=example; Secure'}, ''))",
    "answers.append((404, {}, ''))",
    "answers.append((500, {'Retry-After': '1'}, ''))",
    "answers += [(302, {'Location': '/loop'}, '')] * 40",
    "answers.append((200, {}, {effect}))",
    "answers.append((302, {'Location': '/late'}, {effect}))",
    "answers.append((200, {}, {effect}))",
    "answers.append((200, {}, \"raise requests.ConnectionError('no', request=kw)\"))",
)


_NO_NETRC = "os.environ['NETRC'] = '/nowhere'"
_NO_MAPPING = {f"kw['headers'] = {value}" for value in ("''", "()", "[]")}


def _sets_a_proxy(line: str) -> bool:
    return line.startswith("os.environ['") and "proxy'] = " in line.lower()


def _is_odd_with_netrc(line: str) -> bool:
    is_odd_url = "[" in line or "]" in line or "\\" in line or not line.isascii()
    return ("result = " in line and is_odd_url) or line.startswith("patch(")


POOLS = (
    (TRUST, "environment"),
    (SESSION, "session"),
    (SESSION, "session"),
    (HEADERS, "headers"),
    (JARS, "cookies"),
)
#: The areas of those arguments that are odd together with others.
AREAS = {
    "headers": "headers",
    "cookies": "cookies",
    "proxies": "environment",
    "verify": "environment",
}
FOCUSES = (
    "",
    "",
    "environment",
    "environment",
    "session",
    "headers",
    "cookies",
    "url",
    "arguments",
)


class Drawing:
    """A random generator, and the lines that it has drawn."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        #: How odd this case is.
        self._odd = rng.choice((0.02, 0.1, 0.1, 0.3))
        #: What is odd more often, so that odd things of one kind meet.
        self._focus = rng.choice(FOCUSES)
        self.lines: list[str] = []

    def draw(self) -> Case:
        """Return a case."""
        rng = self._rng
        self._first_environment()
        self._changes(1.0)
        mixin = rng.choice(things.MIXINS).__name__ if self._is_odd() else None
        for number in range(rng.choice((1, 1, 2, 2, 3, 5))):
            if number:
                self._changes(0.7)
            self._call()
        # For the same reason as in `_line`.
        if mixin in ("Preparing", "PreparingOther"):
            self.lines = [line for line in self.lines if "netrc(" not in line]
            self.lines.insert(0, _NO_NETRC)
        return Case([*map(self._line, self.lines)], mixin, rng.random() < 0.5)

    def _line(self, line: str) -> str:
        """Return a line without what differs by design if there is a side effect.

        We look at netrc after a request was prepared. Meanwhile there may be a side effect, a URL
        that cannot be parsed raises another error there, and functions are called as if there were
        no login. And we read the headers of a session
        for the notice that a request has no token. requests does not read them if the request has
        no mapping of headers.
        """
        has_effect = any("on(" in one for one in self.lines)
        if "netrc(" in line and (has_effect or any(map(_is_odd_with_netrc, self.lines))):
            return _NO_NETRC
        has_odd_store = any("_store" in one for one in self.lines)
        if (has_effect or has_odd_store) and line in _NO_MAPPING:
            return "kw['headers'] = {}"
        return line

    def _is_odd(self, share: float = 1.0, area: str = "") -> bool:
        """Draw whether something is odd, at most in 70 % of the draws: some are repeated."""
        if area and area == self._focus:
            share *= 6
        return self._rng.random() < min(self._odd * share, 0.7)

    def _add(self, line: str) -> None:
        if "{effect}" in line:
            line = line.replace("{effect}", repr(self._rng.choice(EFFECTS)))
        self.lines.append(line)

    def _first_environment(self) -> None:
        rng = self._rng
        count = rng.choice((0, 0, 30)) if rng.random() < 0.99 else 500
        self._add(f"fill({count})")
        if rng.random() < 0.3:
            self._add(f"os.environ['NETRC'] = netrc({rng.choice([*things.NETRC, 'missing'])!r})")
        else:
            self._add(_NO_NETRC)

    def _variable(self) -> str:
        rng = self._rng
        kind = rng.random()
        set_before = [line.partition(" = ")[0] for line in self.lines if _sets_a_proxy(line)]
        if set_before and kind < 0.3:  # another value for the same name
            return f"{rng.choice(set_before)} = {rng.choice(PROXY_VALUES)!r}"
        if kind < 0.5:
            return f"os.environ[{rng.choice(PROXY_NAMES)!r}] = {rng.choice(PROXY_VALUES)!r}"
        if kind < 0.7:
            return f"os.environ[{rng.choice(BUNDLE_NAMES)!r}] = {rng.choice(BUNDLE_VALUES)!r}"
        return rng.choice(OTHER_VARIABLES)

    def _changes(self, share: float) -> None:
        """Change the environment, the session or a function."""
        rng = self._rng
        while self._is_odd(2 * share, "environment"):
            self._add(self._variable())
        for pool, area in POOLS:
            while self._is_odd(share, area):
                self._add(rng.choice(pool))
        while self._is_odd(share / 2):
            self._add(self._patch())
        while self._is_odd(share / 2):
            self._add("session.hooks['response'] = [on(EffectHook(), {effect})]")
        while self._is_odd(share / 2):
            self._add(rng.choice(MORE_EFFECTS))

    def _patch(self) -> str:
        rng = self._rng
        if rng.random() < 0.6:
            return rng.choice(PATCHES).format(how=rng.choice(HOWS))
        owner = rng.choice([*PATCHED_METHODS])
        name = rng.choice(PATCHED_METHODS[owner].split())
        if (owner, name) in INHERITED:
            owner = "requests.sessions.SessionRedirectMixin"
        return f"patch({owner}, {name!r}, {rng.choice(HOWS)}, noting)"

    def _url(self) -> str:
        rng = self._rng
        url: str = rng.choice(PLAIN_URLS)
        kind = rng.random()
        if kind < 2 * self._odd or (self._focus == "url" and kind < 0.5):
            url = rng.choice(ODD_URLS)
        elif kind < 4 * self._odd or kind > 0.97:
            letters = rng.choice((LETTERS, ODD_LETTERS))
            url += "".join(rng.choices(letters, k=rng.randint(1, 12)))
        if self._is_odd(0.5):
            return rng.choice(URL_KINDS).replace("{url}", repr(url))
        return repr(url)

    def _call(self) -> None:
        rng = self._rng
        if not self._is_odd(0.3):  # else the arguments of the last call are used again
            self._add("kw = {}")
        for line in USUAL:
            if rng.random() < 0.15:
                self._add(line)
        for name, values in ARGUMENTS.items():
            if self._is_odd(1.0, AREAS.get(name, "arguments")):
                self._add(f"kw[{name!r}] = {rng.choice(values)}")
        while self._is_odd():
            self._add(rng.choice(ANSWERS))
        self._add(self._sending())

    def _sending(self) -> str:
        rng = self._rng
        method, url = rng.choice(METHODS[: 12 if rng.random() > self._odd else None]), self._url()
        # Settings alone are merged more often if the environment is odd.
        is_merging = self._focus == "environment" and rng.random() < 0.4
        if is_merging and rng.random() < 0.3:
            url = repr(rng.choice(URLS_OF_PROXIES))
        kind = 0.92 if is_merging else rng.random()
        if kind < 0.55:
            return f"result = session.request({method}, {url}, **kw)"
        if kind < 0.75:
            verb = rng.choice(
                ["get", "get", "get", "post", "put", "delete", "head", "options", "patch"]
            )
            return f"result = session.{verb}({url}, **kw)"
        made = "ReadOnce" if self._is_odd() else "requests.Request"
        request = f"{made}({method}, {url}, **of_request(kw))"
        if kind < 0.85:
            return f"result = session.prepare_request({request})"
        if kind < 0.9:
            return f"result = session.send(session.prepare_request({request}), **of_send(kw))"
        settings = "session.merge_environment_settings"
        given = "*(kw.get(n) for n in ('proxies', 'stream', 'verify', 'cert'))"
        if kind < 0.95:
            return f"result = {settings}({url}, {given})"
        return (
            f"p = session.prepare_request({request});"
            f" result = session.send(p, **{settings}(p.url, {given}))"
        )


MORE_EFFECTS = (
    "session.headers['X-E'] = on(EffectStr('1'), {effect})",
    "session.headers[on(EffectStr('X-E'), {effect})] = '1'",
    "session.params = on(EffectDict(), {effect})",
    "session.params = on(EffectMapping({'a': 'b'}), {effect})",
    "session.proxies = on(EffectDict(), {effect})",
    "session.proxies = on(EffectMapping(), {effect})",
    "session.headers = on(EffectDict({'X-E': '1'}), {effect})",
    "session.cookies = on(EffectJar(), {effect})",
    "session.cookies.set_policy(on(EffectPolicy(), {effect}))",
    "session.hooks = on(EffectDict(response=[]), {effect})",
    "session.hooks = {'response': on(EffectList(), {effect})}",
    "session.auth = on(EffectAuth(), {effect})",
    "session.auth = on(EffectTruth(False), {effect})",
    "session.verify = on(EffectTruth(True), {effect})",
    "os.environ = on(EffectEnviron(os.environ), {effect})",
    "patch(requests.sessions, 'merge_setting', by_wraps, on(EffectCall(), {effect}))",
    "patch(requests.sessions, 'merge_cookies', by_wraps, on(EffectCall(), {effect}))",
    "patch(requests.PreparedRequest, 'prepare_url', by_wraps, on(EffectCall(), {effect}))",
    "patch(requests.PreparedRequest, 'prepare_body', by_wraps, on(EffectCall(), {effect}))",
    "patch(requests.PreparedRequest, 'prepare_hooks', by_wraps, on(EffectCall(), {effect}))",
)


def draw(rng: random.Random) -> Case:
    """Return a case."""
    return Drawing(rng).draw()
