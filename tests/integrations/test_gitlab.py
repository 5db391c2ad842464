"""python-gitlab, whose `Gitlab` takes a session."""

from __future__ import annotations

import gitlab
import pytest

from oauthcc.testing.faults import json_answer

PROJECT = {"id": 7, "name": "project", "path_with_namespace": "group/project"}


@pytest.fixture
def client(session, api):
    api.add_route("/api/v4/projects", lambda seen: json_answer(PROJECT))
    with gitlab.Gitlab(api.url, session=session) as made:
        yield made


def test_a_client_works(client, works_with):
    assert works_with(lambda: client.projects.get("group/project")).name == "project"


def test_an_escaped_path_has_the_token_too(client, api):
    client.projects.get("group/project")
    assert api.requests[0].path == "/api/v4/projects/group%2Fproject"


def test_pages_cost_one_token_request(client, auth, api):
    def page(seen):
        number = int(dict(seen.args).get("page", "1"))
        link = {"Link": f'<{api.url}/api/v4/users?page={number + 1}>; rel="next"'}
        return json_answer([{"id": number}], headers=link if number < 5 else {})

    api.add_route("/api/v4/users", page)
    assert [user.id for user in client.users.list(iterator=True)] == [1, 2, 3, 4, 5]
    assert len(auth.token_requests) == 1


def test_an_upload_is_not_sent_again_because_it_is_a_form_of_toolbelt(client, auth, api, tmp_path):
    api.add_route("/api/v4/projects/7/uploads", lambda seen: json_answer({"url": "/x"}))
    path = tmp_path / "x"
    path.write_text("x")
    project = client.projects.get(7)
    auth.revoke_all()
    with pytest.raises(gitlab.GitlabAuthenticationError):
        project.upload("x", filepath=str(path))
    assert project.upload("x", filepath=str(path))["url"] == "/x"
    assert len(auth.token_requests) == 2


def test_a_token_of_gitlab_wins(session, auth, api):
    client = gitlab.Gitlab(api.url, session=session, oauth_token="theirs")
    with pytest.raises(gitlab.GitlabAuthenticationError):
        client.projects.get(7)
    assert [seen.token for seen in api.requests] == ["theirs"]
    assert auth.token_requests == []
