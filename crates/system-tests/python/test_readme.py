"""The README's examples work word for word."""

import json
import os
import pathlib
import re
import subprocess
import sys

from conftest import URL

README = pathlib.Path(__file__).parents[3] / "README.md"


def example(language):
    marked = re.search(rf"<!-- tested: {language} -->\n```\w+\n(.*?)```", README.read_text(), re.DOTALL)
    return marked.group(1)


def run(command, team_key):
    environment = os.environ | {"LAP_URL": URL, "LAP_KEY": team_key}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def test_the_curl_example_holds_a_conversation(team_key):
    printed = run(["bash", "-euc", example("curl")], team_key)
    assert "It printed the answer." in printed
    assert "42" in printed


def test_the_python_example_streams_until_idle(team_key):
    printed = run([sys.executable, "-c", example("python")], team_key).split()
    assert printed[0] == "user.message"
    assert "agent.tool_result" in printed
    assert printed[-1] == "session.status_idle"


IN_A_SESSION = """
agent=$(post /v1/agents '{"name": "deployer", "model": "demo"}' | id)
environment=$(post /v1/environments '{"name": "workshop", "config": {"type": "cloud"}}' | id)
session=$(post /v1/sessions "{\\"agent\\": \\"$agent\\", \\"environment_id\\": \\"$environment\\", \\"vault_ids\\": [\\"$vault\\"]}" | id)
post "/api/sessions/$session/messages?wait=120" '{"text": "@run printenv GITHUB_TOKEN"}' > /dev/null
echo; echo EVENTS
curl -fsS "$LAP_URL/v1/sessions/$session/events" -H "Authorization: Bearer $LAP_KEY"
"""


def test_the_vault_example_gives_a_session_a_placeholder(team_key):
    # What the first example defines, the later one uses.
    defined, _ = example("curl").split("\n\n", 1)
    printed = run(["bash", "-euc", defined + "\n" + example("vault") + IN_A_SESSION], team_key)
    events = json.loads(printed.split("\nEVENTS\n")[1])["data"]
    [result] = [event for event in events if event["type"] == "agent.tool_result"]
    said = json.dumps(result)
    assert re.search(r"ghp_[0-9A-Za-z]{36}", said), said
    assert "ghp_\\u2026" not in said, said
