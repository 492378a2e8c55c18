"""The official SDK keeps secrets in vaults, and gets them back from nowhere."""

import json

import anthropic
import pytest

SECRET = "s3same-open-9f8e7d"
LIMITED = {"type": "limited", "allowed_hosts": ["api.example.com", "*.example.org"]}


@pytest.fixture
def vault(strict_client):
    made = strict_client.beta.vaults.create(display_name="for tests")
    yield made
    try:
        strict_client.beta.vaults.delete(made.id)
    except anthropic.NotFoundError:
        pass


def variable(**changes):
    auth = {"type": "environment_variable", "secret_name": "DEPLOY_TOKEN", "secret_value": SECRET, "networking": LIMITED}
    return auth | changes


def test_vaults_are_made_changed_archived_and_deleted(strict_client):
    vaults = strict_client.beta.vaults
    made = vaults.create(display_name="for tests", metadata={"a": "1", "b": "2"})
    assert (made.type, made.archived_at) == ("vault", None)
    changed = vaults.update(made.id, display_name="renamed", metadata={"a": None})
    assert (changed.display_name, changed.metadata) == ("renamed", {"b": "2"})
    assert vaults.retrieve(made.id) == changed
    assert made.id in [vault.id for vault in vaults.list(limit=1)]
    assert vaults.archive(made.id).archived_at is not None
    assert made.id not in [vault.id for vault in vaults.list()]
    assert made.id in [vault.id for vault in vaults.list(include_archived=True)]
    with pytest.raises(anthropic.BadRequestError):
        vaults.update(made.id, display_name="again")
    assert vaults.delete(made.id).type == "vault_deleted"
    with pytest.raises(anthropic.NotFoundError):
        vaults.retrieve(made.id)


def test_a_variable_is_written_and_never_read(strict_client, vault):
    credentials = strict_client.beta.vaults.credentials
    made = credentials.create(vault.id, auth=variable(), display_name="deploys", metadata={"k": "v"})
    assert (made.type, made.vault_id, made.auth.type) == ("vault_credential", vault.id, "environment_variable")
    assert made.auth.secret_name == "DEPLOY_TOKEN"
    assert made.auth.networking.allowed_hosts == LIMITED["allowed_hosts"]
    assert (made.auth.injection_location.header, made.auth.injection_location.body) == (True, False)
    change = {"type": "environment_variable", "secret_value": SECRET + "-2", "injection_location": {"body": True}}
    changed = credentials.update(made.id, vault_id=vault.id, auth=change, display_name=None)
    assert (changed.auth.injection_location.header, changed.auth.injection_location.body) == (True, True)
    assert (changed.display_name, changed.metadata) == (None, {"k": "v"})
    shown = [made, changed, credentials.retrieve(made.id, vault_id=vault.id), *credentials.list(vault.id)]
    assert len(shown) == 4
    for credential in shown:
        assert SECRET not in credential.to_json()
    assert credentials.archive(made.id, vault_id=vault.id).archived_at is not None
    assert list(credentials.list(vault.id)) == []
    assert credentials.delete(made.id, vault_id=vault.id).type == "vault_credential_deleted"


def test_tokens_for_mcp_servers_are_written_and_never_read(strict_client, vault):
    credentials = strict_client.beta.vaults.credentials
    url = "https://mcp.example.com/mcp"
    bearer = credentials.create(vault.id, auth={"type": "static_bearer", "token": SECRET, "mcp_server_url": url})
    assert bearer.auth.mcp_server_url == url
    refresh = {
        "client_id": "c",
        "refresh_token": SECRET,
        "token_endpoint": "https://id.example.com/token",
        "token_endpoint_auth": {"type": "client_secret_post", "client_secret": SECRET},
        "scope": "read",
    }
    auth = {
        "type": "mcp_oauth",
        "access_token": SECRET,
        "mcp_server_url": url,
        "expires_at": "2099-01-02T03:04:05Z",
        "refresh": refresh,
    }
    oauth = credentials.create(vault.id, auth=auth)
    assert (oauth.auth.expires_at.year, oauth.auth.refresh.scope) == (2099, "read")
    assert oauth.auth.refresh.token_endpoint_auth.type == "client_secret_post"
    change = {"type": "mcp_oauth", "access_token": SECRET + "-2", "refresh": {"scope": ""}}
    changed = credentials.update(oauth.id, vault_id=vault.id, auth=change)
    assert (changed.auth.refresh.scope, changed.auth.mcp_server_url) == (None, url)
    for credential in (bearer, oauth, changed):
        assert SECRET not in credential.to_json()
    with pytest.raises(anthropic.BadRequestError):
        credentials.mcp_oauth_validate(bearer.id, vault_id=vault.id)


def test_refusals_name_the_place_and_never_the_value(client, vault):
    for auth, place in [
        (variable(secret_name="PATH"), "auth.secret_name"),
        (variable(secret_value=SECRET + "\n"), "auth.secret_value"),
        (variable(networking={"type": "limited", "allowed_hosts": ["https://x.example"]}), "auth.networking.allowed_hosts[0]"),
        (variable(injection_location={"header": False}), "auth.injection_location"),
        ({"type": "static_bearer", "token": "Bearer " + SECRET, "mcp_server_url": "https://x.example"}, "auth.token"),
    ]:
        with pytest.raises(anthropic.BadRequestError) as refused:
            client.beta.vaults.credentials.create(vault.id, auth=auth)
        assert place in refused.value.api_message
        assert SECRET not in json.dumps(refused.value.body)


def test_a_session_names_its_vaults(client, open_session, vault):
    session = open_session(vault_ids=[vault.id])
    assert client.beta.sessions.retrieve(session.id).vault_ids == [vault.id]
    with pytest.raises(anthropic.BadRequestError):
        client.beta.sessions.update(session.id, vault_ids=[])
    client.beta.vaults.archive(vault.id)
    with pytest.raises(anthropic.BadRequestError) as refused:
        open_session(vault_ids=[vault.id])
    assert refused.value.error_code == "vault_archived"
    with pytest.raises(anthropic.NotFoundError):
        open_session(vault_ids=["vlt_01935a7e7c1b7e2a8f000123456789ab"])


def test_a_session_shows_its_budget_and_what_it_spent(strict_client, agent, environment):
    money = {"amount": "2500", "currency": "USD"}
    budget = {"type": "limit", "max_list_cost": money}
    sessions = strict_client.beta.sessions
    session = sessions.create(agent=agent.id, environment_id=environment.id, budget=budget)
    assert session.budget.max_list_cost.amount == "2500"
    assert session.usage.list_cost.currency == "USD"
    raised = sessions.update(session.id, budget=budget | {"max_list_cost": money | {"amount": "5000"}})
    assert raised.budget.max_list_cost.amount == "5000"
    assert sessions.update(session.id, budget=None).budget is None
    with pytest.raises(anthropic.BadRequestError) as refused:
        sessions.update(session.id, budget=budget)
    assert refused.value.error_code == "budget_create_only"
    sessions.delete(session.id)
