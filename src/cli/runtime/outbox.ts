import { randomBytes } from "node:crypto";
import type { Outbox } from "../../agent/tools/message.ts";
import type { Redactor } from "../../base/redaction/redactor.ts";
import type { Gateway } from "../../gateway/gateway.ts";

/** Pushes what the agent sends to clients, with all secrets masked. */
export function createOutbox(push: Gateway["push"], redactor: Redactor): Outbox {
  return {
    async send({ channel, client, text }) {
      const id = `message-${randomBytes(8).toString("hex")}`;
      await push({ channel, client, id, from: "message", text: redactor.redact(text) });
    },
  };
}
