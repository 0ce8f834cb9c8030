import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { understandPast } from "../../../src/agent/fallback/understand.ts";

const NOON = new Date(2026, 6, 1, 12, 0, 0);

describe("a question about the past", () => {
  const asked: readonly (readonly [string, string, number, number])[] = [
    ["Was it hot last night?", "temperature", 14, 6],
    ["was it warm overnight", "temperature", 14, 6],
    ["How high was the CPU usage in the last 3 hours?", "cpu", 3, 0],
    ["max temperature today", "temperature", 12, 0],
    ["What was the highest load in the past 30 minutes?", "load", 0.5, 0],
    ["How full was the disk yesterday?", "disk", 36, 12],
    ["average memory usage in the last 2 days", "memory", 48, 0],
    ["peak cpu this morning", "cpu", 6, 0],
    ["Show me the highest temperature of my board in the last 24h, please", "temperature", 24, 0],
    ["hottest temperature in the past day", "temperature", 24, 0],
    ["What's the CPU's peak today?", "cpu", 12, 0],
  ];
  for (const [text, fact, from, to] of asked) {
    it(`${JSON.stringify(text)} is ${fact} from ${from} to ${to} hours ago`, () => {
      assert.deepEqual(understandPast(text, NOON), { fact, from, to });
    });
  }

  for (const text of [
    "How hot is it?",
    "Was it hot?",
    "What is the temperature today?",
    "Was it hot in Berlin last night?",
    "Was the coffee hot this morning?",
    "What happened last night?",
    "Was the weather hot yesterday?",
    "last night",
    "Was it hot in the car last night?",
    "Was the car hot last night?",
    "How hot was my soup yesterday?",
    "Was the baby's temperature high last night?",
    "Was the restaurant busy yesterday?",
    "How busy was I yesterday?",
    "What used the most memory yesterday?",
    "How busy was the network yesterday?",
    "War die Heizung gestern warm?",
    "War es letzte Nacht heiß?",
    "What was the load on the bridge today?",
    `Was it hot last night? ${"really ".repeat(30)}`,
  ]) {
    it(`${JSON.stringify(text.slice(0, 40))} is none`, () => {
      assert.equal(understandPast(text, NOON), undefined);
    });
  }
});
