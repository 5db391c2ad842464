"""pyodata, whose `Client` takes a session as its connection."""

from __future__ import annotations

import asyncio
import logging

import pyodata
import pytest
from pyodata.exceptions import HttpError

from oauthcc.testing.faults import Answer, json_answer

METADATA = """<?xml version="1.0" encoding="utf-8"?>
<edmx:Edmx Version="1.0" xmlns:edmx="http://schemas.microsoft.com/ado/2007/06/edmx"
    xmlns:m="http://schemas.microsoft.com/ado/2007/08/dataservices/metadata">
 <edmx:DataServices m:DataServiceVersion="2.0">
  <Schema Namespace="SHOP" xmlns="http://schemas.microsoft.com/ado/2008/09/edm">
   <EntityType Name="Order">
    <Key><PropertyRef Name="Number"/></Key>
    <Property Name="Number" Type="Edm.String" Nullable="false" MaxLength="10"/>
    <Property Name="State" Type="Edm.String" Nullable="false" MaxLength="10"/>
   </EntityType>
   <EntityContainer Name="Shop" m:IsDefaultEntityContainer="true">
    <EntitySet Name="Orders" EntityType="SHOP.Order"/>
   </EntityContainer>
  </Schema>
 </edmx:DataServices>
</edmx:Edmx>
"""
ORDER = {"Number": "7", "State": "sent"}


@pytest.fixture
def service(api):
    xml = {"Content-Type": "application/xml"}
    api.add_route("/odata/$metadata", lambda seen: Answer(200, xml, METADATA.encode()))
    api.add_route(
        "/odata/Orders",
        lambda seen: json_answer({"d": ORDER}, 201 if seen.method == "POST" else 200),
    )
    return api


@pytest.fixture
def client(session, service):
    return pyodata.Client(f"{service.url}/odata", session)


def test_a_client_works(client, works_with):
    assert works_with(lambda: client.entity_sets.Orders.get_entity("7").execute()).State == "sent"


def test_what_is_written_is_written_again(client, works_with):
    def create():
        return client.entity_sets.Orders.create_entity().set(**ORDER).execute()

    assert works_with(create).Number == "7"


def test_a_401_in_the_end_is_an_error_of_pyodata(client, service):
    service.refuse_next(2)
    with pytest.raises(HttpError) as caught:
        client.entity_sets.Orders.get_entity("7").execute()
    assert caught.value.response.status_code == 401


def test_the_log_contains_neither_token_nor_secret(client, caplog, secrets_in):
    with caplog.at_level(logging.DEBUG):
        client.entity_sets.Orders.get_entity("7").execute()
    assert any(record.name.startswith("pyodata") for record in caplog.records)
    assert secrets_in(caplog.text) == []


def test_the_asynchronous_client_does_not_take_a_session_of_requests(session, service):
    # Python 3.10 raises an AttributeError, and later versions a TypeError.
    with pytest.raises(
        (AttributeError, TypeError), match=r"asynchronous context manager|__aenter__"
    ):
        asyncio.run(pyodata.Client.build_async_client(f"{service.url}/odata", session))
