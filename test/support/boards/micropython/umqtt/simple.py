"""What the kit uses of MicroPython's umqtt.simple and time, over paho, for CPython."""

import queue
import time

import paho.mqtt.client as mqtt

time.ticks_ms = lambda: int(time.monotonic() * 1000)
time.ticks_add = lambda moment, ms: moment + ms
time.ticks_diff = lambda moment, other: moment - other
time.sleep_ms = lambda ms: time.sleep(ms / 1000)


class MQTTClient:
    def __init__(self, client_id, server, port=1883, user=None, password=None, keepalive=0):
        self._place = (server, port, keepalive)
        self._messages = queue.Queue()
        version = getattr(mqtt, "CallbackAPIVersion", None)
        self._paho = mqtt.Client(version.VERSION2, client_id) if version else mqtt.Client(client_id)
        self._paho.on_message = lambda _client, _data, message: self._messages.put(message)
        self._paho.on_disconnect = lambda *_ignored: self._messages.put(None)

    def set_callback(self, callback):
        self._callback = callback

    def connect(self):
        self._paho.connect(*self._place)
        self._paho.loop_start()

    def subscribe(self, topic, qos=0):
        self._paho.subscribe(topic.decode(), qos)

    def publish(self, topic, message, retain=False, qos=0):
        # umqtt.simple writes the length of a text, and then its UTF-8.
        assert isinstance(message, bytes)
        self._paho.publish(topic.decode(), message, qos, retain)

    def ping(self):
        pass

    def check_msg(self):
        try:
            message = self._messages.get_nowait()
        except queue.Empty:
            return
        if message is None:
            # As a socket whose end is gone.
            self._paho.disconnect()
            self._paho.loop_stop()
            raise OSError(-1)
        self._callback(message.topic.encode(), message.payload)
