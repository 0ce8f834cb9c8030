import type { Redactor } from "../../base/redaction/redactor.ts";
import type { ToolSettings } from "../../config/contract.ts";
import type { Tool } from "./contract.ts";

/** Masks secrets in a text for a model. */
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

/** The tool with secrets masked in its results and in the messages of its errors. */
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
        // An error without a secret stays the same object: the caller may compare it.
        throw message === thrown.message ? thrown : new Error(message);
      }
    },
  };
}
