"""The official SDK holds conversations: send, stream, previews, lists, interrupts."""

import datetime

from anthropic.lib.sessions import accumulate_managed_agents_event

from conftest import message, until_idle


def text_of(event):
    return "".join(block.text for block in event.content)


def test_a_whole_conversation_streams_until_idle(strict_client, open_session):
    client = strict_client
    session = open_session(by=client, title="first")
    assert session.status == "idle"
    assert session.agent.version == 1
    with client.beta.sessions.events.stream(session.id) as stream:
        script = "@write hello.py print(6 * 7)\n@run python3 hello.py\n@say finished"
        sent = client.beta.sessions.events.send(session.id, events=[message(script)])
        events = until_idle(stream)
    types = [event.type for event in events]
    assert sent.data[0].id == events[0].id
    assert types[:2] == ["user.message", "session.status_running"]
    assert types.count("agent.tool_use") == 2
    assert types.count("agent.tool_result") == 2
    results = [event for event in events if event.type == "agent.tool_result"]
    calls = [event for event in events if event.type == "agent.tool_use"]
    assert [result.tool_use_id for result in results] == [call.id for call in calls]
    assert "42" in text_of(results[1])
    assert "finished" in text_of([event for event in events if event.type == "agent.message"][-1])
    assert events[-1].stop_reason.type == "end_turn"
    listed = list(client.beta.sessions.events.list(session.id))
    assert [event.id for event in listed] == [event.id for event in events]
    archived = client.beta.sessions.archive(session.id)
    assert archived.archived_at is not None


def test_previews_grow_into_the_event_that_replaces_them(client, session):
    with client.beta.sessions.events.stream(session.id, event_deltas=["agent.message"]) as stream:
        client.beta.sessions.events.send(session.id, events=[message("@stream 20 10")])
        events = until_idle(stream)
    starts = [event.event.id for event in events if event.type == "event_start"]
    deltas = [event for event in events if event.type == "event_delta"]
    final = [event for event in events if event.type == "agent.message"]
    assert starts == [event.id for event in final]
    assert len(deltas) > 1
    snapshot = None
    before_final = ""
    for event in events:
        if event.type == "agent.message":
            assert text_of(event).startswith(before_final)
        snapshot = accumulate_managed_agents_event(snapshot, event)
        if snapshot is not None and snapshot.type == "agent.message":
            before_final = text_of(snapshot)
    assert before_final == text_of(final[0])


def test_lists_filter_order_and_page(client, session):
    before = datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=5)
    with client.beta.sessions.events.stream(session.id) as stream:
        client.beta.sessions.events.send(session.id, events=[message("@say one")])
        streamed = [event.id for event in until_idle(stream)]
    events = client.beta.sessions.events
    assert [event.id for event in events.list(session.id, limit=2)] == streamed
    assert [event.id for event in events.list(session.id, order="desc")] == streamed[::-1]
    assert [event.id for event in events.list(session.id, created_at_gte=before)] == streamed
    assert not list(events.list(session.id, created_at_lt=before))
    said = list(events.list(session.id, types=["agent.message"]))
    assert {event.type for event in said} == {"agent.message"}


def test_a_stream_without_a_cursor_is_live_and_one_with_a_cursor_goes_on_from_there(client, session):
    with client.beta.sessions.events.stream(session.id) as stream:
        client.beta.sessions.events.send(session.id, events=[message("@say one")])
        first = [event.id for event in until_idle(stream)]
    with client.beta.sessions.events.stream(session.id) as stream:
        client.beta.sessions.events.send(session.id, events=[message("@say two")])
        second = [event.id for event in until_idle(stream)]
    assert not set(first) & set(second)
    resumed = client.beta.sessions.events.stream(session.id, extra_headers={"Last-Event-ID": "1"})
    with resumed as stream:
        ids = []
        for event in stream:
            ids.append(event.id)
            if event.id == second[-1]:
                break
    assert ids == (first + second)[1:]


def test_messages_queue_and_an_interrupt_ends_the_turn_under_way(client, session):
    events = client.beta.sessions.events
    with events.stream(session.id) as stream:
        events.send(session.id, events=[message("@stream 2000 10")])
        events.send(session.id, events=[message("@say the second")])
        waiting = [event for event in events.list(session.id) if event.type == "user.message"][1]
        assert waiting.processed_at is None
        events.send(session.id, events=[{"type": "user.interrupt"}])
        interrupted = until_idle(stream)
        second = until_idle(stream)
    assert interrupted[-1].stop_reason.reason == "interrupted"
    assert interrupted[-1].stop_reason.type == "end_turn"
    assert "the second" in text_of([event for event in second if event.type == "agent.message"][-1])


def test_the_same_context_is_the_same_session(client, open_session):
    context = {"context": "slack:T1:C1"}
    first = open_session(extra_body=context)
    assert open_session(extra_body=context).id == first.id
    client.beta.sessions.archive(first.id)
    assert open_session(extra_body=context).id != first.id


def test_the_stream_of_a_deleted_session_says_so_and_ends(client, session):
    with client.beta.sessions.events.stream(session.id) as stream:
        assert client.beta.sessions.delete(session.id).type == "session_deleted"
        assert [event.type for event in stream][-1] == "session.deleted"


def test_default_retries_send_a_message_once(new_client, session):
    client = new_client(max_retries=2)
    with client.beta.sessions.events.stream(session.id) as stream:
        client.beta.sessions.events.send(session.id, events=[message("@say once")])
        until_idle(stream)
    sent = client.beta.sessions.events.list(session.id, types=["user.message"])
    assert len(list(sent)) == 1
