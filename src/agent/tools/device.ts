import * as v from "valibot";
import type { Device } from "../device/contract.ts";
import { FACT_NAMES, FACTS, factSentence } from "../device/facts.ts";
import type { DeviceHistory } from "../device/history.ts";
import { SAMPLED } from "../device/history.ts";
import { pastText } from "../device/past.ts";
import type { Tool } from "./contract.ts";
import { defineTool } from "./define.ts";

const facts = v.pipe(
  v.array(v.picklist(FACT_NAMES)),
  v.minLength(1, "name at least one fact"),
  v.description(
    `Which facts, now: ${FACT_NAMES.map((name) => `${name} = ${FACTS[name].about}`).join("; ")}.`,
  ),
);

const hoursBack = (words: string) =>
  v.pipe(v.number(), v.minValue(0), v.maxValue(48), v.description(words));

const history = v.pipe(
  v.object({
    fact: v.pipe(v.picklist(SAMPLED), v.description("disk is the disk of the workspace")),
    hours_back_from: hoursBack("begin: hours before now"),
    hours_back_to: v.optional(hoursBack("end: hours before now; default 0")),
  }),
  v.description("The values of one fact in the last two days: one sample a minute."),
);

const input = v.pipe(
  v.object({ facts: v.optional(facts), history: v.optional(history) }),
  v.check(
    (asked) => asked.facts !== undefined || asked.history !== undefined,
    "give facts, or history",
  ),
);

/**
 * The tool that measures facts of the device in parallel: one line a fact, in the order of the arguments.
 * With a history it also returns past values.
 */
export function createDeviceTool(device: Device, past?: DeviceHistory): Tool {
  return defineTool({
    name: "device",
    description:
      "Measures the device this agent runs on, now, or returns what it measured in the last two days. Ask for all the facts you need in one call.",
    input,
    async run(asked, { signal }) {
      const names = [...new Set(asked.facts)];
      const sentences = names.map((name) => factSentence(name, device, signal));
      const lines = asked.history === undefined ? [] : [pastOf(asked.history, device, past)];
      return [...(await Promise.all(sentences)), ...lines].join("\n");
    },
  });
}

function pastOf(
  asked: v.InferOutput<typeof history>,
  device: Device,
  past: DeviceHistory | undefined,
): string {
  if (past === undefined) return "There is no history of this device.";
  const { fact, hours_back_from: one, hours_back_to: other = 0 } = asked;
  const [from, to] = [Math.max(one, other), Math.min(one, other)];
  return pastText({ fact, from, to }, past, device.now().getTime());
}
