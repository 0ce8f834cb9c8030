"""Runs the kit for MicroPython: client, text, port."""

import sys

from picoclaw import AgentError, Picoclaw

client, text, port = sys.argv[1:]
try:
    print(Picoclaw(client, "127.0.0.1", port=int(port)).ask(text))
except AgentError as error:
    sys.exit(f"error: {error} ({error.code})")
