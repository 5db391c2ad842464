"""zeep, whose `Transport` takes a session. It also downloads the WSDL with it."""

from __future__ import annotations

import logging

import pytest
from zeep import Client
from zeep.exceptions import TransportError
from zeep.transports import Transport

from oauthcc.testing import ProtectedAPI
from oauthcc.testing.faults import Answer

from ..sessions import session_for

XML = {"Content-Type": "text/xml; charset=utf-8"}
WSDL = """<?xml version="1.0"?>
<definitions xmlns="http://schemas.xmlsoap.org/wsdl/" name="Orders" targetNamespace="urn:orders"
    xmlns:tns="urn:orders" xmlns:xsd="http://www.w3.org/2001/XMLSchema"
    xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/">
  <message name="Question"><part name="number" type="xsd:int"/></message>
  <message name="Answer"><part name="state" type="xsd:string"/></message>
  <portType name="Port">
    <operation name="State">
      <input message="tns:Question"/><output message="tns:Answer"/>
    </operation>
  </portType>
  <binding name="Binding" type="tns:Port">
    <soap:binding style="rpc" transport="http://schemas.xmlsoap.org/soap/http"/>
    <operation name="State">
      <soap:operation soapAction="urn:orders#State"/>
      <input><soap:body use="literal" namespace="urn:orders"/></input>
      <output><soap:body use="literal" namespace="urn:orders"/></output>
    </operation>
  </binding>
  <service name="Service">
    <port name="Port" binding="tns:Binding"><soap:address location="{url}/soap"/></port>
  </service>
</definitions>
"""
ANSWER = """<?xml version="1.0"?>
<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"><soap:Body>
  <ns:StateResponse xmlns:ns="urn:orders"><state>sent</state></ns:StateResponse>
</soap:Body></soap:Envelope>
"""


@pytest.fixture
def client(session, api):
    api.add_route("/soap", lambda seen: Answer(200, XML, ANSWER.encode()))
    api.add_route("/wsdl", lambda seen: Answer(200, XML, WSDL.format(url=api.url).encode()))
    return Client(f"{api.url}/wsdl", transport=Transport(session=session))


def test_a_client_works(client, works_with):
    assert works_with(lambda: client.service.State(7)) == "sent"


def test_the_description_is_downloaded_with_the_same_token(client, auth, api):
    client.service.State(7)
    assert [(seen.method, seen.path) for seen in api.requests] == [
        ("GET", "/wsdl"),
        ("POST", "/soap"),
    ]
    assert [seen.token for seen in api.requests] == auth.issued * 2


def test_a_401_in_the_end_is_an_error_of_zeep(client, api):
    api.refuse_next(2)
    with pytest.raises(TransportError) as caught:
        client.service.State(7)
    assert caught.value.status_code == 401


def test_the_log_of_zeep_contains_neither_token_nor_secret(client, caplog, secrets_in):
    with caplog.at_level(logging.DEBUG):
        client.service.State(7)
    assert "zeep.transports" in {record.name for record in caplog.records}
    assert secrets_in(caplog.text) == []


@pytest.mark.parametrize("limited", [True, False])
def test_a_schema_of_another_host_gets_the_token_unless_api_url_is_set(auth, api, limited):
    with ProtectedAPI(auth) as foreign:
        foreign.protected = False
        schema = (
            '<xsd:schema xmlns:xsd="http://www.w3.org/2001/XMLSchema" targetNamespace="urn:x"/>'
        )
        foreign.add_route("/", lambda seen: Answer(200, XML, schema.encode()))
        types = f"""<types><xsd:schema><xsd:import namespace="urn:x"
            schemaLocation="{foreign.url}/x.xsd"/></xsd:schema></types><message name="Question">"""
        wsdl = WSDL.format(url=api.url).replace('<message name="Question">', types)
        api.add_route("/wsdl", lambda seen: Answer(200, XML, wsdl.encode()))
        with session_for(auth, api_url=api.url if limited else None) as session:
            Client(f"{api.url}/wsdl", transport=Transport(session=session))
        assert api.requests[0].token == auth.issued[0]
        assert [seen.token for seen in foreign.requests] == [None if limited else auth.issued[0]]
