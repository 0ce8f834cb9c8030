import * as v from "valibot";
import type { Device } from "../device/contract.ts";
import { FACT_NAMES, FACTS, factSentence } from "../device/facts.ts";
import type { Tool } from "./contract.ts";
import { defineTool } from "./define.ts";

const input = v.object({
  facts: v.pipe(
    v.array(v.picklist(FACT_NAMES)),
    v.minLength(1, "name at least one fact"),
    v.description(
      `Which facts: ${FACT_NAMES.map((name) => `${name} = ${FACTS[name].about}`).join("; ")}.`,
    ),
  ),
});

/** Tells facts of the device: one line a fact, in the order asked for, gathered side by side. */
export function createDeviceTool(device: Device): Tool {
  return defineTool({
    name: "device",
    description:
      "Measures the device this agent runs on, right now. Ask for all the facts you need in one call.",
    input,
    async run({ facts }, { signal }) {
      const names = [...new Set(facts)];
      const sentences = names.map((name) => factSentence(name, device, signal));
      return (await Promise.all(sentences)).join("\n");
    },
  });
}
