"""The official SDK answers calls that wait: a person's yes or no, and tools that the client carries out."""

import asyncio

import anthropic
import pytest
from anthropic import AsyncAnthropic, beta_async_tool

from conftest import URL, message, until_idle

ASK = {"type": "agent_toolset_20260401", "default_config": {"permission_policy": {"type": "always_ask"}}}


def text_of(event):
    return "".join(block.text for block in event.content or [])


def of_type(events, wanted):
    return [event for event in events if event.type == wanted]


def confirmation(call, result, **more):
    return {"type": "user.tool_confirmation", "tool_use_id": call, "result": result, **more}


@pytest.fixture
def careful_session(strict_client, open_session):
    """Of an agent that asks before every call."""
    agent = strict_client.beta.agents.create(name="careful", model="demo", tools=[ASK])
    return open_session(by=strict_client, agent=agent.id)


def ask(client, session, script):
    """Has the agent make a call, and answers its events up to where it waits."""
    with client.beta.sessions.events.stream(session.id) as stream:
        client.beta.sessions.events.send(session.id, events=[message(script)])
        return until_idle(stream)


def answer(client, session, event):
    """Answers a call, and answers the events up to the next idle one."""
    with client.beta.sessions.events.stream(session.id) as stream:
        client.beta.sessions.events.send(session.id, events=[event])
        return until_idle(stream)


def test_a_call_that_asks_waits_and_names_itself(strict_client, careful_session):
    events = ask(strict_client, careful_session, "@run echo once >> ledger\n@say done")
    calls = of_type(events, "agent.tool_use")
    assert [call.evaluated_permission for call in calls] == ["ask"]
    assert events[-1].stop_reason.type == "requires_action"
    assert events[-1].stop_reason.event_ids == [calls[0].id]
    assert not of_type(events, "agent.tool_result")
    assert strict_client.beta.sessions.retrieve(careful_session.id).status == "idle"
    with pytest.raises(anthropic.BadRequestError) as refused:
        nothing = confirmation(events[0].id, "allow")
        strict_client.beta.sessions.events.send(careful_session.id, events=[nothing])
    assert refused.value.error_code == "nothing_to_answer"


def test_an_allowed_call_runs_exactly_once(strict_client, careful_session):
    asked = ask(strict_client, careful_session, "@run echo once >> ledger\n@say done")
    call = of_type(asked, "agent.tool_use")[0]
    events = answer(strict_client, careful_session, confirmation(call.id, "allow"))
    assert events[0].type == "user.tool_confirmation"
    assert events[0].tool_use_id == call.id
    assert [result.tool_use_id for result in of_type(events, "agent.tool_result")] == [call.id]
    assert events[-1].stop_reason.type == "end_turn"
    with pytest.raises(anthropic.BadRequestError):
        twice = confirmation(call.id, "allow")
        strict_client.beta.sessions.events.send(careful_session.id, events=[twice])
    asked = ask(strict_client, careful_session, "@run cat ledger\n@say done")
    call = of_type(asked, "agent.tool_use")[0]
    events = answer(strict_client, careful_session, confirmation(call.id, "allow"))
    assert text_of(of_type(events, "agent.tool_result")[0]).split() == ["once"]


def test_a_denied_call_never_runs_and_its_result_says_why(strict_client, careful_session):
    asked = ask(strict_client, careful_session, "@run echo never >> ledger\n@say done")
    call = of_type(asked, "agent.tool_use")[0]
    denied = confirmation(call.id, "deny", deny_message="not in this house")
    events = answer(strict_client, careful_session, denied)
    assert events[0].deny_message == "not in this house"
    result = of_type(events, "agent.tool_result")[0]
    assert (result.tool_use_id, result.is_error) == (call.id, True)
    assert "not in this house" in text_of(result)
    assert events[-1].stop_reason.type == "end_turn"
    asked = ask(strict_client, careful_session, "@run test ! -e ledger && echo missing\n@say done")
    call = of_type(asked, "agent.tool_use")[0]
    events = answer(strict_client, careful_session, confirmation(call.id, "allow"))
    assert "missing" in text_of(of_type(events, "agent.tool_result")[0])


def test_the_tool_runner_carries_out_a_custom_tool(client, team_key, open_session):
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tool = {"type": "custom", "name": "weather", "description": "The weather.", "input_schema": schema}
    agent = client.beta.agents.create(name="forecaster", model="demo", tools=[tool])
    session = open_session(agent=agent.id)
    asked_for = []

    @beta_async_tool(name="weather", description="The weather.", input_schema=schema)
    async def weather(city: str) -> str:
        asked_for.append(city)
        return "rain-7"

    async def run():
        async with AsyncAnthropic(base_url=URL, api_key=team_key, max_retries=0) as client:
            events = client.beta.sessions.events
            script = message('@tool weather {"city": "Bremen"}\n@say done')
            await events.send(session.id, events=[script])
            return [call async for call in events.tool_runner(session.id, tools=[weather], max_idle=2)]

    calls = asyncio.run(run())
    assert asked_for == ["Bremen"]
    assert [(call.name, call.posted, call.is_error) for call in calls] == [("weather", True, False)]
    log = list(client.beta.sessions.events.list(session.id, limit=1000))
    assert [call.id for call in of_type(log, "agent.custom_tool_use")] == [calls[0].tool_use_id]
    assert of_type(log, "session.status_idle")[-1].stop_reason.type == "end_turn"
    # The model of these tests says what it remembers of earlier turns only.
    events = ask(client, session, "@recall rain-\\d")
    assert "rain-7" in text_of(of_type(events, "agent.message")[-1])
