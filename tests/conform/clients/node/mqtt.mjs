// mqtt.js against edgecore's broker, as its users would. $MQTT_PORT says where it is, $MQTT_VERSION which MQTT: 4 (3.1.1) or 5.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { after, test } from 'node:test';

const require = createRequire(`${process.env.CLIENT_NODE}/`);
const mqtt = require('mqtt');
const url = `mqtt://127.0.0.1:${process.env.MQTT_PORT}`;
const protocolVersion = Number(process.env.MQTT_VERSION);
// What makes a session last: MQTT 5 has a time for it.
const lasting = { clean: false, ...(protocolVersion === 5 && { properties: { sessionExpiryInterval: 3600 } }) };
const clients = [];

async function connect(clientId, options = {}) {
  const client = await mqtt.connectAsync(url, { clientId, protocolVersion, reconnectPeriod: 0, ...options });
  clients.push(client);
  return client;
}

function hears(client, count) {
  const heard = [];
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`heard ${JSON.stringify(heard)}`)), 10_000);
    client.on('message', (topic, payload, packet) => {
      heard.push({ topic, payload: payload.toString(), qos: packet.qos, retain: packet.retain });
      if (heard.length === count) {
        clearTimeout(late);
        resolve(heard);
      }
    });
  });
}

after(() => Promise.all(clients.map((client) => client.endAsync(true))));

test('every quality arrives, in order', async () => {
  const [reader, writer] = [await connect('js-reader'), await connect('js-writer')];
  const granted = await reader.subscribeAsync({ 'js/a': { qos: 2 }, 'js/+/b': { qos: 1 } });
  assert.deepEqual(granted.map((one) => one.qos), [2, 1]);
  const all = hears(reader, 60);
  for (let number = 0; number < 60; number += 1) {
    await writer.publishAsync('js/a', String(number), { qos: 2 });
  }
  assert.deepEqual((await all).map((one) => Number(one.payload)), Array.from({ length: 60 }, (_, n) => n));
});

test('what is retained meets a new subscription', async () => {
  const writer = await connect('js-keeper');
  await writer.publishAsync('js/kept', 'x', { qos: 1, retain: true });
  const reader = await connect('js-late');
  const all = hears(reader, 1);
  await reader.subscribeAsync('js/kept', { qos: 1 });
  assert.deepEqual(await all, [{ topic: 'js/kept', payload: 'x', qos: 1, retain: true }]);
  await writer.publishAsync('js/kept', '', { qos: 1, retain: true });
});

test('a session that lasts gets what it missed', async () => {
  const before = await connect('js-sleeper', lasting);
  await before.subscribeAsync('js/night', { qos: 1 });
  await before.endAsync();
  const writer = await connect('js-night');
  await writer.publishAsync('js/night', 'dream', { qos: 1 });
  const again = mqtt.connect(url, { clientId: 'js-sleeper', protocolVersion, ...lasting, reconnectPeriod: 0 });
  clients.push(again);
  const all = hears(again, 1);
  assert.equal((await all)[0].payload, 'dream');
});

test('a twin is answered', async () => {
  const client = await connect('js-twin');
  const all = hears(client, 1);
  await client.subscribeAsync('$hw/events/device/default/nope/twin/get/result', { qos: 1 });
  await client.publishAsync('$hw/events/device/default/nope/twin/get', '{"event_id":"js"}', { qos: 1 });
  const answer = JSON.parse((await all)[0].payload);
  assert.deepEqual([answer.event_id, answer.code], ['js', 404]);
});
