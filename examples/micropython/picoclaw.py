"""Asks picoclaw over MQTT, on MicroPython. Needs umqtt.simple: mpremote mip install umqtt.simple

    from picoclaw import Picoclaw
    agent = Picoclaw("kitchen", "broker.lan")
    print(agent.ask("What is the CPU usage?"))

The network must be connected before.
"""

import json
import os
import time
from binascii import hexlify

from umqtt.simple import MQTTClient

# After so long without a part the connection is made anew, and the question goes out again, under the same id.
SILENCE_MS = 60000
PING_MS = 20000


class AgentError(Exception):
    """The agent answered with an error; `code` is one of those in the README, such as `busy`."""

    def __init__(self, code, text, retry_after=None):
        super().__init__(text)
        self.code = code
        self.retry_after = retry_after


class Picoclaw:
    """A client of one agent; it asks one question at a time. `more` is for MQTTClient: user, password, ssl."""

    def __init__(self, client, server, agent="assistant", prefix="/picoclaw", **more):
        base = "%s/%s/%s" % (prefix, agent, client)
        # As bytes: umqtt.simple counts characters where MQTT counts bytes.
        self._request = (base + "/request").encode()
        self._response = (base + "/response").encode()
        own = "%s-%s" % (client, hexlify(os.urandom(4)).decode())
        self._new = lambda: MQTTClient(own, server, keepalive=60, **more)
        self._mqtt = None
        self._id = None

    def ask(self, text, timeout=120, id=None, **more):
        """Returns the whole answer. `more` is for further keys, such as max_chars=200."""
        self._id = id or hexlify(os.urandom(8)).decode()
        payload = json.dumps(dict(more, text=text, id=self._id)).encode()
        deadline = _in(timeout * 1000)
        not_before = send_at = _in(0)
        self._begin()
        try:
            while _left(deadline) > 0:
                try:
                    if self._mqtt is None:
                        self._connect()
                        # An answer may have been lost with the connection: ask again, under the same id.
                        send_at = not_before
                    if _left(send_at) <= 0:
                        self._begin()
                        send_at = _in(SILENCE_MS)
                        # With QoS 1 it would wait for the broker without end. A request that is lost goes out again.
                        self._mqtt.publish(self._request, payload)
                    self._receive()
                except (OSError, IndexError):
                    self._mqtt = None
                    time.sleep_ms(1000)
                if self._state == "part":
                    self._state = "waiting"
                    send_at = _in(SILENCE_MS)
                elif self._state == "done":
                    return "".join(self._parts)
                elif self._state == "incomplete":
                    self._state = "waiting"
                    send_at = not_before
                elif self._state == "failed":
                    wait = self._error.retry_after
                    if wait is None or wait * 1000 > _left(deadline):
                        raise self._error
                    self._state = "waiting"
                    not_before = send_at = _in(wait * 1000)
                elif self._mqtt is not None and _left(self._heard) < -SILENCE_MS:
                    # Nothing comes, not even a part without text: the connection may be dead.
                    self._mqtt = None
            raise OSError("no answer in time")
        finally:
            self._id = None

    def _begin(self):
        self._parts = []
        self._state = "waiting"
        self._error = None
        self._heard = _in(0)

    def _connect(self):
        mqtt = self._new()
        mqtt.set_callback(self._on_message)
        mqtt.connect()
        mqtt.subscribe(self._response, 1)
        self._mqtt = mqtt
        self._pinged = self._heard = _in(0)

    def _receive(self):
        self._mqtt.check_msg()
        if _left(self._pinged) < -PING_MS:
            self._pinged = _in(0)
            self._mqtt.ping()
        time.sleep_ms(20)

    def _on_message(self, _topic, payload):
        try:
            part = json.loads(payload)
        except ValueError:
            return
        if not isinstance(part, dict) or part.get("id") != self._id or self._state == "done":
            return
        self._heard = _in(0)
        seq = part.get("seq", 0)
        if seq == 0:
            self._parts = []
        # A part that is missing makes all later ones useless: the same id gets the same answer again.
        if seq == len(self._parts):
            self._parts.append(part.get("text", ""))
        self._state = "part"
        if "error" in part:
            error = part["error"]
            self._error = AgentError(error.get("code"), part.get("text"), error.get("retry_after"))
            # Its text is no part of an answer that comes later.
            self._parts = []
            self._state = "failed"
        elif part.get("done"):
            self._state = "done" if len(self._parts) == seq + 1 else "incomplete"


def _in(ms):
    return time.ticks_add(time.ticks_ms(), int(ms))


def _left(moment):
    return time.ticks_diff(moment, time.ticks_ms())
