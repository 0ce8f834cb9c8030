import { join } from "node:path";
import { startClient, type Running } from "./picoclaw.ts";

const examples = join(import.meta.dirname, "../../examples");

/** Starts a client of `examples/` as its document does, for one question to the broker at that port of this machine. */
export type StartKit = (client: string, text: string, port: number, id?: string) => Running;

export const CLIENT_KITS: Readonly<Record<"python" | "node", StartKit>> = {
  python: (client, text, port, id) => {
    const kit = join(examples, "python/picoclaw_client.py");
    const words = [kit, client, text, "--port", `${port}`, ...(id ? ["--id", id] : [])];
    return startClient("/usr/bin/python3", words);
  },
  node: (client, text, port, id) => {
    const kit = join(examples, "node/picoclaw-client.mjs");
    return startClient("node", [
      kit,
      client,
      text,
      `mqtt://127.0.0.1:${port}`,
      ...(id ? [id] : []),
    ]);
  },
};
