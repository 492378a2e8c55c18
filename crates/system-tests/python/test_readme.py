"""The README's first conversation works word for word."""

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
