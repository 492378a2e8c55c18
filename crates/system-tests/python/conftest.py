"""A client of the running stack, which LAP_URL and MASTER_KEY name. All tests act for one new team."""

import json
import os
import urllib.request

import pytest
from anthropic import Anthropic, NotFoundError

URL = os.environ["LAP_URL"]


def as_administrator(path, body):
    headers = {"Authorization": "Bearer " + os.environ["MASTER_KEY"], "Content-Type": "application/json"}
    request = urllib.request.Request(URL + path, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request) as response:
        return json.load(response)


@pytest.fixture(scope="session")
def team_key():
    team = as_administrator("/v1/teams", {"name": f"conformance-{os.getpid()}"})
    return as_administrator("/v1/api_keys", {"team_id": team["id"], "name": "tests"})["key"]


@pytest.fixture
def new_client(team_key):
    def make(**options):
        settings = {"base_url": URL, "api_key": team_key, "max_retries": 0}
        return Anthropic(**(settings | options))

    return make


@pytest.fixture
def client(new_client):
    return new_client()


@pytest.fixture
def strict_client(new_client):
    """Refuses answers in which a required field is missing."""
    return new_client(_strict_response_validation=True)


@pytest.fixture
def agent(client):
    return client.beta.agents.create(name="coder", model="demo")


@pytest.fixture
def environment(client):
    return client.beta.environments.create(name="workshop", config={"type": "cloud"})


@pytest.fixture
def open_session(client, agent, environment):
    """Opens sessions, and ends them with the test: a session that nobody needs any more still takes its turn to start."""
    opened = []

    def make(by=client, **options):
        wanted = {"agent": agent.id, "environment_id": environment.id} | options
        opened.append(by.beta.sessions.create(**wanted))
        return opened[-1]

    yield make
    for session in opened:
        try:
            client.beta.sessions.delete(session.id)
        except NotFoundError:
            pass


@pytest.fixture
def session(open_session):
    return open_session()


def message(text):
    return {"type": "user.message", "content": [{"type": "text", "text": text}]}


def until_idle(stream):
    """The events of a stream up to and with the first idle one."""
    events = []
    for event in stream:
        events.append(event)
        if event.type == "session.status_idle":
            break
    return events
