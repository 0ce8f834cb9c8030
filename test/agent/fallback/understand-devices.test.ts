import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { understandDevices } from "../../../src/agent/fallback/understand-devices.ts";

const ALL = ["offline", "battery", "link"];

describe("questions about the devices of a home", () => {
  for (const [text, facts] of [
    ["Which devices are offline?", ["offline"]],
    ["what devices are unavailable right now", ["offline"]],
    ["Are any sensors not responding?", ["offline"]],
    ["Which devices have a low battery?", ["battery"]],
    ["which batteries are low", ["battery"]],
    ["Low batteries?", ["battery"]],
    ["Show me the sensors with weak signal", ["link"]],
    ["Which devices are offline or have a low battery?", ["offline", "battery"]],
    ["Which sensors have dead batteries?", ["battery"]],
    ["How are all the devices?", ALL],
    ["Are all devices online?", ALL],
    ["device health", []],
    ["health of my devices", ALL],
  ] as const) {
    it(text, () => assert.deepEqual(understandDevices(text), facts));
  }

  for (const text of [
    "Turn on the kitchen lamp",
    "Is the battery of my car low?",
    "Why are devices offline after an update of the router?",
    "Write a poem about offline devices",
    "What is the CPU usage?",
    "I feel dead, my batteries are low, what can I do?",
    `Which devices are offline? ${"please ".repeat(40)}`,
    "",
  ]) {
    it(`${text.slice(0, 50)} is no such question`, () => {
      assert.deepEqual(understandDevices(text), []);
    });
  }
});
