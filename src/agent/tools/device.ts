import * as v from "valibot";
import type { Device } from "../device/contract.ts";
import { FACT_NAMES, FACTS, factSentence } from "../device/facts.ts";
import type { FactName } from "../device/facts.ts";
import type { DeviceHistory } from "../device/history.ts";
import { SAMPLED } from "../device/history.ts";
import { pastText } from "../device/past.ts";
import type { Tool } from "./contract.ts";
import { defineTool, oldField } from "./define.ts";

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
  v.optional(v.pipe(v.number(), v.minValue(0), v.maxValue(48), v.description(words)), 0);

const input = v.pipe(
  v.object({
    facts: v.optional(facts),
    hours_back_from: hoursBack(
      `Past values instead, of ${SAMPLED.join(", ")}: begin, hours before now.`,
    ),
    hours_back_to: hoursBack("End, hours before now."),
    /** One fact, and the period in an object of its own. */
    history: oldField(
      v.object({
        fact: v.picklist(SAMPLED),
        hours_back_from: hoursBack("Begin"),
        hours_back_to: hoursBack("End"),
      }),
    ),
  }),
  v.check((asked) => asked.facts !== undefined || asked.history !== undefined, "give facts"),
);

/** Characters of the values of one fact: a line for each hour of two days. */
const MAX_PAST = 4_000;

/**
 * The tool that measures facts of the device in parallel, one line a fact, in the order of the arguments; or
 * returns their past values. With `gateway` the answer begins with that name: several gateways answer the same
 * clients, each on its own device.
 */
export function createDeviceTool(device: Device, past?: DeviceHistory, gateway?: string): Tool {
  const whose = gateway === undefined ? [] : [`Of the device of the gateway ${gateway}:`];
  return defineTool({
    name: "device",
    description:
      "Measures this device now, or returns values of the last two days. Ask for all facts in one call.",
    input,
    characters: SAMPLED.length * MAX_PAST,
    async run(asked, { signal }) {
      const names = [...new Set(asked.facts)];
      const { history } = asked;
      const isPast = asked.hours_back_from + asked.hours_back_to > 0;
      const sentences = isPast
        ? names.map((fact) => pastOf({ ...asked, fact }, device, past))
        : await Promise.all(names.map((name) => factSentence(name, device, signal)));
      const lines = history === undefined ? [] : [pastOf(history, device, past)];
      return [...whose, ...sentences, ...lines].join("\n");
    },
  });
}

interface PastAsked {
  readonly fact: FactName;
  readonly hours_back_from: number;
  readonly hours_back_to: number;
}

/** The ends of the period may be in either order. */
function pastOf(asked: PastAsked, device: Device, past: DeviceHistory | undefined): string {
  if (past === undefined) return "There is no history of this device.";
  const { hours_back_from: one, hours_back_to: other } = asked;
  const fact = SAMPLED.find((name) => name === asked.fact);
  if (fact === undefined) {
    return `There are no past values of ${asked.fact}, only of ${SAMPLED.join(", ")}.`;
  }
  const [from, to] = [Math.max(one, other), Math.min(one, other)];
  return pastText({ fact, from, to }, past, device.now().getTime());
}
