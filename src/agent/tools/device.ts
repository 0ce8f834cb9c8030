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
    `Facts to measure now; ${FACT_NAMES.filter((name) => FACTS[name].about !== "")
      .map((name) => `${name}: ${FACTS[name].about}`)
      .join("; ")}.`,
  ),
);

const hoursBack = (words: string) =>
  v.pipe(v.number(), v.minValue(0), v.maxValue(48), v.description(words));

const history = v.pipe(
  v.object({
    fact: v.pipe(v.picklist(SAMPLED), v.description("disk: that of the workspace")),
    hours_back_from: hoursBack("Begin, hours before now."),
    hours_back_to: v.optional(hoursBack("End, hours before now."), 0),
  }),
  v.description("Past values of one fact, one a minute."),
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
      "Measures this device now, or returns values of the last two days. Ask for all facts in one call.",
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
  const { fact, hours_back_from: one, hours_back_to: other } = asked;
  const [from, to] = [Math.max(one, other), Math.min(one, other)];
  return pastText({ fact, from, to }, past, device.now().getTime());
}
