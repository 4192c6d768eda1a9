"""The clients that Python programs speak MQTT with, against edgecore's broker as their users would. Usage: mqtt_suite.py PORT 4|5, where
4 is MQTT 3.1.1."""

import asyncio
import sys
import threading
import time

import aiomqtt
import gmqtt
import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

HOST, PORT, FIVE = "127.0.0.1", int(sys.argv[1]), sys.argv[2] == "5"
PATIENCE = 10


class Paho:
    """A connected client that notes what it hears."""

    def __init__(self, name, clean=True, will=None):
        self.heard, self.told = [], threading.Event()
        self.present = None
        session = {"protocol": paho.MQTTv5} if FIVE else {"protocol": paho.MQTTv311, "clean_session": clean}
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=name, **session)
        self.client.on_message = self._on_message
        connected = threading.Event()

        def on_connect(_client, _data, flags, reason, _properties):
            assert not reason.is_failure, reason
            self.present = flags.session_present
            connected.set()

        self.client.on_connect = on_connect
        if will:
            self.client.will_set(*will, qos=1)
        entrance = {}
        if FIVE:
            entrance = {"clean_start": clean, "properties": Properties(PacketTypes.CONNECT)}
            entrance["properties"].SessionExpiryInterval = 0 if clean else 3600
        self.client.connect(HOST, PORT, keepalive=5, **entrance)
        self.client.loop_start()
        assert connected.wait(PATIENCE), "no CONNACK"

    def _on_message(self, _client, _data, message):
        self.heard.append((message.topic, message.payload.decode(), message.qos, message.retain))
        self.told.set()

    def subscribe(self, *filters):
        done = threading.Event()
        self.client.on_subscribe = lambda *_: done.set()
        self.client.subscribe(list(filters))
        assert done.wait(PATIENCE), "no SUBACK"

    def publish(self, topic, payload, qos, retain=False):
        self.client.publish(topic, payload, qos, retain).wait_for_publish(PATIENCE)

    def hears(self, count):
        end = time.monotonic() + PATIENCE
        while len(self.heard) < count and time.monotonic() < end:
            self.told.wait(0.1)
            self.told.clear()
        assert len(self.heard) >= count, f"{self.heard} of {count}"
        return self.heard

    def leave(self):
        self.client.disconnect()
        self.client.loop_stop()

    def vanish(self):
        """As a machine that loses its power: no DISCONNECT."""
        self.client.loop_stop()
        self.client._sock.close()


def paho_qualities():
    reader, writer = Paho("paho-reader"), Paho("paho-writer")
    reader.subscribe(("paho/+/v", 2), ("other/#", 1))
    for qos in (0, 1, 2):
        writer.publish("paho/a/v", f"q{qos}", qos)
    heard = reader.hears(3)
    assert sorted(heard) == [("paho/a/v", f"q{qos}", qos, False) for qos in (0, 1, 2)], heard
    for number in range(500):
        writer.publish("other/x", str(number), 1)
    heard = reader.hears(503)[3:]
    assert [payload for _, payload, _, _ in heard] == [str(number) for number in range(500)], "in order"
    reader.leave()
    writer.leave()


def paho_retained_and_wills():
    watcher = Paho("paho-watcher")
    watcher.subscribe(("paho/will", 1))
    mortal = Paho("paho-mortal", will=("paho/will", "gone"))
    mortal.publish("paho/kept", "21.5", 1, retain=True)
    mortal.vanish()
    assert watcher.hears(1)[0][:2] == ("paho/will", "gone")
    late = Paho("paho-late")
    late.subscribe(("paho/kept", 1))
    assert late.hears(1) == [("paho/kept", "21.5", 1, True)]
    late.publish("paho/kept", "", 1, retain=True)
    watcher.leave()
    late.leave()


def paho_sessions():
    sleeper = Paho("paho-sleeper", clean=False)
    assert sleeper.present is False
    sleeper.subscribe(("paho/night/#", 1))
    sleeper.leave()
    writer = Paho("paho-night")
    for number in range(20):
        writer.publish("paho/night/x", str(number), 1)
    writer.leave()
    sleeper = Paho("paho-sleeper", clean=False)
    assert sleeper.present is True
    heard = sleeper.hears(20)
    assert [payload for _, payload, _, _ in heard] == [str(number) for number in range(20)], heard
    sleeper.leave()


async def with_aiomqtt():
    options = {"hostname": HOST, "port": PORT, "protocol": aiomqtt.ProtocolVersion.V5 if FIVE else aiomqtt.ProtocolVersion.V311}
    async with aiomqtt.Client(**options, identifier="aio-a") as reader, aiomqtt.Client(**options) as writer:
        await reader.subscribe("aio/#", qos=2)
        for number in range(50):
            await writer.publish(f"aio/{number % 3}", str(number), qos=number % 3)
        heard = []
        async for message in reader.messages:
            heard.append(int(message.payload))
            if len(heard) == 50:
                break
        assert sorted(heard) == list(range(50)), heard


async def with_gmqtt():
    heard, subscribed, all_heard = [], asyncio.Event(), asyncio.Event()
    reader, writer = gmqtt.Client("gmqtt-reader"), gmqtt.Client("gmqtt-writer")

    def on_message(_client, topic, payload, qos, _properties):
        heard.append((topic, payload.decode(), qos))
        if len(heard) == 30:
            all_heard.set()
        return 0

    reader.on_message = on_message
    reader.on_subscribe = lambda *_: subscribed.set()
    version = gmqtt.constants.MQTTv50 if FIVE else gmqtt.constants.MQTTv311
    await reader.connect(HOST, PORT, version=version)
    await writer.connect(HOST, PORT, version=version)
    reader.subscribe("gmqtt/#", qos=2)
    await asyncio.wait_for(subscribed.wait(), PATIENCE)
    for number in range(30):
        writer.publish("gmqtt/x", str(number), qos=number % 3)
    await asyncio.wait_for(all_heard.wait(), PATIENCE)
    assert sorted(int(payload) for _, payload, _ in heard) == list(range(30)), heard
    await reader.disconnect()
    await writer.disconnect()


def paho_requests_and_answers():
    """What only MQTT 5 has, as paho's users see it."""
    server, client = Paho("paho-server"), Paho("paho-client")
    server.subscribe(("paho/ask", 1))
    client.subscribe(("paho/answer", 1))
    heard = []
    server.client.on_message = lambda _client, _data, message: server.client.publish(
        message.properties.ResponseTopic, message.payload + b"!", 1, properties=_correlated(message)
    )
    client.client.on_message = lambda _client, _data, message: (heard.append(message), client.told.set())
    ask = Properties(PacketTypes.PUBLISH)
    ask.ResponseTopic, ask.CorrelationData, ask.UserProperty = "paho/answer", b"42", ("who", "paho")
    client.client.publish("paho/ask", "ping", 1, properties=ask).wait_for_publish(PATIENCE)
    assert client.told.wait(PATIENCE), "no answer"
    assert heard[0].payload == b"ping!" and heard[0].properties.CorrelationData == b"42"
    server.leave()
    client.leave()


def _correlated(message):
    answer = Properties(PacketTypes.PUBLISH)
    answer.CorrelationData = message.properties.CorrelationData
    return answer


with_five = [paho_requests_and_answers] if FIVE else []
for test in [paho_qualities, paho_retained_and_wills, paho_sessions, *with_five]:
    test()
    print("ok", test.__name__)
for test in (with_aiomqtt, with_gmqtt):
    asyncio.run(test())
    print("ok", test.__name__)
