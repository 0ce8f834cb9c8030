"""Asks picoclaw over MQTT. Needs paho-mqtt, 1.6 or 2: apt install python3-paho-mqtt

    from picoclaw_client import Picoclaw
    with Picoclaw("kitchen", host="broker.lan") as agent:
        print(agent.ask("What is the CPU usage?"))

On the command line: python3 picoclaw_client.py kitchen "What is the CPU usage?" --host broker.lan
"""

import argparse
import json
import sys
import threading
import time
import uuid

import paho.mqtt.client as mqtt

# What a broker says to a wrong user or password, in MQTT 3.1.1 and in MQTT 5.
BAD_CREDENTIALS = (4, 5, 134, 135)
# After so many seconds without a part the question goes out again, under the same id.
SILENCE_SECONDS = 60


class AgentError(Exception):
    """The agent answered with an error; `code` is one of those in the README, such as `busy`."""

    def __init__(self, code, text, retry_after=None):
        super().__init__(text)
        self.code = code
        self.retry_after = retry_after


class _Question:
    def __init__(self, payload):
        self.payload = payload
        self.not_before = 0.0
        self.begin()

    def begin(self):
        """Forgets what came and lets the question go out, or go out again."""
        self.parts = {}
        self.send_at = self.not_before
        self.answer = None
        self.error = None

    def text(self):
        """What came so far, up to the first part that is missing."""
        whole = ""
        for seq in range(len(self.parts)):
            if seq not in self.parts:
                break
            whole += self.parts[seq]
        return whole

    def take(self, part):
        seq = part.get("seq", 0)
        if seq == 0:
            self.parts = {}
        self.parts[seq] = part.get("text", "")
        self.send_at = time.monotonic() + SILENCE_SECONDS
        if not part.get("done"):
            return
        if "error" in part:
            error = part["error"]
            # Its text is no part of an answer that comes later.
            self.parts = {}
            retry_after = error.get("retry_after")
            self.error = AgentError(error.get("code"), part.get("text"), retry_after)
        elif len(self.parts) == seq + 1:
            self.answer = self.text()
        else:
            # Parts came while the connection was lost. The same id gets the same answer again.
            self.begin()


class Picoclaw:
    """A client of one agent. Each client has a conversation of its own."""

    def __init__(self, client, host="localhost", port=1883, agent="assistant", prefix="/picoclaw",
                 username=None, password=None, cafile=None):
        base = f"{prefix}/{agent}/{client}"
        self._request, self._response = f"{base}/request", f"{base}/response"
        self._questions = {}
        self._changed = threading.Condition()
        self._ready = False
        self._refusal = None
        # paho-mqtt 2 wants to be told which callbacks these are; 1.6 does not know the argument.
        version = getattr(mqtt, "CallbackAPIVersion", None)
        self._mqtt = mqtt.Client(version.VERSION2) if version else mqtt.Client()
        if username is not None:
            self._mqtt.username_pw_set(username, password)
        if cafile is not None:
            self._mqtt.tls_set(cafile)
        self._mqtt.on_connect = self._on_connect
        self._mqtt.on_subscribe = self._on_subscribe
        self._mqtt.on_disconnect = self._on_disconnect
        self._mqtt.on_message = self._on_message
        self._mqtt.reconnect_delay_set(1, 30)
        self._mqtt.connect_async(host, port, keepalive=60)
        self._mqtt.loop_start()

    def __enter__(self):
        return self

    def __exit__(self, *_ignored):
        self.close()

    def close(self):
        self._mqtt.disconnect()
        self._mqtt.loop_stop()

    def ask(self, text, timeout=120, on_progress=None, id=None, **more):
        """Returns the whole answer. `on_progress` gets what came so far, at each part.

        A program that was restarted passes the `id` of the question that it had asked before,
        and gets the same answer. `more` is for further keys, such as max_chars=200.
        """
        id = id or uuid.uuid4().hex
        question = _Question(json.dumps({"text": text, "id": id, **more}))
        deadline = time.monotonic() + timeout
        shown = ""
        with self._changed:
            self._questions[id] = question
        try:
            while question.answer is None:
                self._send_what_is_due(question)
                with self._changed:
                    if question.answer is None:
                        self._check(question, deadline)
                        self._changed.wait(0.5)
                    progress = question.text()
                if on_progress and progress != shown:
                    shown = progress
                    on_progress(progress)
            return question.answer
        finally:
            with self._changed:
                del self._questions[id]

    def _send_what_is_due(self, question):
        with self._changed:
            is_due = self._ready and time.monotonic() >= question.send_at
            if is_due:
                question.send_at = time.monotonic() + SILENCE_SECONDS
        if is_due:
            self._mqtt.publish(self._request, question.payload, qos=1)

    def _check(self, question, deadline):
        now = time.monotonic()
        error = question.error
        if error is not None:
            if error.retry_after is None or now + error.retry_after > deadline:
                raise error
            question.not_before = now + error.retry_after
            question.begin()
        if self._refusal is not None:
            raise ConnectionError(f"the broker refuses the connection: {self._refusal}")
        if now >= deadline:
            raise TimeoutError("no answer in time" if self._ready else "not connected")

    def _on_connect(self, client, _userdata, _flags, reason, _properties=None):
        code = getattr(reason, "value", reason)
        words = mqtt.connack_string(reason) if isinstance(reason, int) else str(reason)
        with self._changed:
            self._refusal = words if code in BAD_CREDENTIALS else None
            self._changed.notify_all()
        if code == 0:
            client.subscribe(self._response, qos=1)

    def _on_subscribe(self, *_ignored):
        with self._changed:
            self._ready = True
            # An answer may have been lost with the connection: ask again, under the same id.
            for question in self._questions.values():
                if question.answer is None and question.error is None:
                    question.send_at = question.not_before
            self._changed.notify_all()

    def _on_disconnect(self, *_ignored):
        with self._changed:
            self._ready = False

    def _on_message(self, _client, _userdata, message):
        try:
            part = json.loads(message.payload)
        except ValueError:
            return
        if message.retain or not isinstance(part, dict):
            return
        with self._changed:
            question = self._questions.get(part.get("id"))
            # An error that is being waited out may be followed by the answer.
            if question is not None and question.answer is None:
                question.take(part)
                self._changed.notify_all()


def main():
    parser = argparse.ArgumentParser(description="Asks picoclaw over MQTT.")
    parser.add_argument("client")
    parser.add_argument("text")
    parser.add_argument("--host", default="localhost")
    parser.add_argument("--port", type=int, default=1883)
    parser.add_argument("--agent", default="assistant")
    parser.add_argument("--id", help="of a question that was asked before")
    parser.add_argument("--user")
    parser.add_argument("--password-file")
    parser.add_argument("--cafile", help="the authority of the broker's certificate: TLS")
    parser.add_argument("--timeout", type=float, default=120)
    given = parser.parse_args()
    password = None
    if given.password_file:
        with open(given.password_file, encoding="utf8") as file:
            password = file.read().strip()
    agent = Picoclaw(given.client, given.host, given.port, given.agent, username=given.user,
                     password=password, cafile=given.cafile)
    with agent:
        try:
            print(agent.ask(given.text, given.timeout, id=given.id))
        except (AgentError, ConnectionError, TimeoutError) as error:
            code = f" ({error.code})" if isinstance(error, AgentError) else ""
            sys.exit(f"error: {error}{code}")


if __name__ == "__main__":
    main()
