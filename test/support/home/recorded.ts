import { readFile } from "node:fs/promises";
import { join } from "node:path";

/** A command that the program's own converters understood. */
export interface RecordedCommand {
  /** The entity's id. */
  readonly id: string;
  readonly name: string;
  readonly value: string | number;
  readonly messages: readonly (readonly [topic: string, payload: string])[];
  /** The keys of the device's state that were published after that. */
  readonly changes: Readonly<Record<string, unknown>>;
}

/** A message, or a command, with what the converters sent to the radio as its fifth. */
type Line =
  | readonly [string, string]
  | readonly [string, string, string | number, RecordedCommand["messages"], string, object];

/** What zigbee2mqtt has published, and how it took commands: its first line tells how that was recorded. */
export async function recordedZigbee2mqtt() {
  const text = await readFile(join(import.meta.dirname, "zigbee2mqtt.ndjson"), "utf8");
  const lines: readonly Line[] = text
    .trim()
    .split("\n")
    .slice(1)
    .map((line) => JSON.parse(line));
  const messages = lines.flatMap((line) => (line.length === 2 ? [line] : []));
  const commands = lines.flatMap((line): RecordedCommand[] => {
    if (line.length === 2) return [];
    const [id, name, value, sent, , changes] = line;
    return [{ id, name, value, messages: sent, changes: { ...changes } }];
  });
  return { messages, commands };
}
