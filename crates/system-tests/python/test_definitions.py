"""The official SDK writes and reads definitions, and gets the errors that it knows."""

import anthropic
import pytest

from conftest import message


def test_environments_resolve_their_config(strict_client):
    networking = {"type": "limited", "allowed_hosts": ["example.com"]}
    config = {"type": "cloud", "networking": networking, "warm_pool_size": 0}
    created = strict_client.beta.environments.create(name="closed", config=config)
    assert created.config.networking.allow_mcp_servers is False
    assert created.config.packages.pip == []
    assert created.config.warm_pool_size == 0
    assert created._request_id
    updated = strict_client.beta.environments.update(created.id, description=None, metadata={"a": "1"})
    assert (updated.description, updated.metadata, updated.name) == (None, {"a": "1"}, "closed")
    assert strict_client.beta.environments.update(created.id, metadata={"a": None}).metadata == {}
    assert strict_client.beta.environments.archive(created.id).archived_at is not None
    assert strict_client.beta.environments.delete(created.id).type == "environment_deleted"


def test_agents_are_versioned(strict_client):
    tools = [
        {
            "type": "agent_toolset_20260401",
            "configs": [{"name": "bash", "permission_policy": {"type": "always_ask"}}],
        },
        {"type": "custom", "name": "lookup", "description": "d", "input_schema": {"type": "object"}},
    ]
    agents = strict_client.beta.agents
    created = agents.create(model="demo", name="n", system="s", tools=tools, metadata={"k": "v"})
    assert created.version == 1
    assert (created.model.id, created.model.effort.type) == ("demo", "high")
    assert created.tools[0].configs[0].type == "bash"
    assert created.tools[0].default_config.enabled is True
    assert created.execution_identity.type == "service_account"
    updated = agents.update(created.id, version=1, system=None)
    assert (updated.version, updated.system) == (2, None)
    with pytest.raises(anthropic.ConflictError):
        agents.update(created.id, version=1, system="late")
    assert agents.retrieve(created.id, version=1).system == "s"
    assert [agent.version for agent in agents.versions.list(created.id, limit=1)] == [2, 1]
    assert agents.archive(created.id).archived_at is not None
    assert created.id not in [agent.id for agent in agents.list()]
    assert created.id in [agent.id for agent in agents.list(include_archived=True)]


def test_sessions_override_their_agent(client, open_session):
    agent = client.beta.agents.create(model="demo", name="n", system="s")
    overridden = {"type": "agent_with_overrides", "id": agent.id, "system": None, "tools": []}
    session = open_session(agent=overridden)
    assert session.agent.system is None
    assert client.beta.agents.retrieve(agent.id).system == "s"


def test_sessions_are_listed_page_by_page_and_archived_ones_are_hidden(client, agent, open_session):
    opened = [open_session().id for _ in range(3)]
    listed = list(client.beta.sessions.list(agent_id=agent.id, limit=1, order="asc"))
    assert [session.id for session in listed] == opened
    updated = client.beta.sessions.update(opened[0], title="renamed", metadata={"a": "1"})
    assert (updated.title, updated.metadata) == ("renamed", {"a": "1"})
    client.beta.sessions.archive(opened[0])
    live = [session.id for session in client.beta.sessions.list(agent_id=agent.id)]
    assert sorted(live) == sorted(opened[1:])
    everything = client.beta.sessions.list(agent_id=agent.id, include_archived=True)
    assert sorted(session.id for session in everything) == sorted(opened)
    with pytest.raises(anthropic.BadRequestError) as refused:
        client.beta.sessions.events.send(opened[0], events=[message("@say no")])
    assert "archived" in refused.value.api_message


@pytest.mark.parametrize(
    "events",
    [
        [{"type": "user.unheard_of"}],
        [{"type": "user.message"}],
        [message("fine"), {"type": "user.tool_result", "tool_use_id": "sevt_1", "content": []}],
    ],
)
def test_bad_events_are_refused_and_nothing_is_stored(client, session, events):
    with pytest.raises(anthropic.BadRequestError):
        client.beta.sessions.events.send(session.id, events=events)
    assert not list(client.beta.sessions.events.list(session.id))


def test_errors_have_the_envelope(client, new_client):
    with pytest.raises(anthropic.NotFoundError) as missing:
        client.beta.agents.retrieve("agent_00000000000000000000000000000000")
    assert missing.value.type == "not_found_error"
    assert missing.value.request_id == missing.value.body["request_id"]
    with pytest.raises(anthropic.BadRequestError):
        client.beta.agents.list(page="nonsense")
    with pytest.raises(anthropic.BadRequestError) as unknown:
        client.beta.agents.create(name="n", model="demo", extra_body={"colour": "red"})
    assert "colour" in unknown.value.api_message
    with pytest.raises(anthropic.BadRequestError) as unserved:
        client.beta.agents.create(name="n", model="no-such-model")
    assert "no-such-model" in unserved.value.api_message
    with pytest.raises(anthropic.AuthenticationError):
        new_client(api_key="lap_wrong").beta.agents.list()
