import assert from "node:assert/strict";
import { it } from "node:test";
import { lossTexts } from "../../src/cli/runtime/loss-texts.ts";

const of = (sessions: number, messages: number): readonly string[] =>
  lossTexts({ name: "mqtt", sessionsLost: () => sessions, messagesDropped: () => messages });

it("/status names what a broker has lost, and nothing where it has lost nothing", () => {
  assert.deepEqual(of(0, 0), []);
  assert.deepEqual(of(1, 0), [
    "mqtt: the broker lost our session, and the requests that waited in it",
  ]);
  assert.deepEqual(of(2, 936), [
    "mqtt: the broker lost our session 2 times, and the requests that waited in it",
    "mqtt: the broker dropped 936 messages from full queues, perhaps requests to us",
  ]);
});
