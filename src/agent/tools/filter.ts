import type { Redactor } from "../../base/redaction/redactor.ts";
import type { ToolSettings } from "../../config/contract.ts";
import type { Tool } from "./contract.ts";

/** Takes secrets out of a text that is on its way to a model. */
export type SecretFilter = (text: string) => string;

/** What the settings leave of the redactor for the model's eyes: nothing at all, or longer texts alone. */
export function createSecretFilter(
  redactor: Pick<Redactor, "redact">,
  settings: Pick<ToolSettings, "filter_sensitive_data" | "filter_min_length">,
): SecretFilter {
  const { filter_sensitive_data, filter_min_length } = settings;
  if (!filter_sensitive_data) return (text) => text;
  return (text) => (text.length < filter_min_length ? text : redactor.redact(text));
}

/** The tool with its results, and the messages of what it throws, filtered. */
export function withFilter(tool: Tool, filter: SecretFilter): Tool {
  return {
    ...tool,
    async run(input, call) {
      try {
        return filter(await tool.run(input, call));
      } catch (thrown) {
        call.signal.throwIfAborted();
        if (!(thrown instanceof Error)) throw thrown;
        const message = filter(thrown.message);
        // What holds no secret stays itself: its caller may know it.
        throw message === thrown.message ? thrown : new Error(message);
      }
    },
  };
}
