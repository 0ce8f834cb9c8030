import { join } from "node:path";
import { SILENT } from "../../src/base/log.ts";
import { BOUNDS } from "../../src/cli/state/conversations.ts";
import { openSqliteStore } from "../../src/store/sqlite/store.ts";

const MESSAGES = 20;

/** Fills the store of a home with so many conversations of 20 messages, by the program's own code. */
export async function fillStore(home: string, conversations: number): Promise<void> {
  const store = await openSqliteStore<{ role: string; text: string }>(
    join(home, "workspace", "state", "picoclaw.db"),
    {
      owner: "bench",
      now: () => Date.now(),
      sole: true,
      log: SILENT,
      bounds: { ...BOUNDS, conversations, windowMs: 600_000 },
    },
  );
  const texts = Array.from({ length: MESSAGES / 2 }, (_, turn) => [
    { role: "user", text: `How warm is it, ${turn}? ${"please ".repeat(10)}` },
    { role: "assistant", text: `It is ${turn} degrees. ${"That is fine. ".repeat(20)}` },
  ]).flat();
  const lanes = Array.from({ length: conversations }, (_, index) => `4:mqttdevice-${index}`);
  await Promise.all(lanes.map((lane) => store.append(lane, texts)));
  await store.close();
}
