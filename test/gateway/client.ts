import type { Part } from "../../src/base/contract.ts";
import type { Request } from "../../src/gateway/contract.ts";

/** One request with its replies. */
export interface Asked {
  readonly request: Request;
  readonly parts: Part[];
  /** Resolves with the done part. */
  readonly done: Promise<Part>;
  /** The answer's text. */
  readonly text: () => string;
}

/** A request whose replies are delivered at once, unless `reply` says otherwise. */
export function ask(
  text: string,
  facts: Partial<Request> = {},
  deliver: (part: Part) => Promise<void> = () => Promise.resolve(),
): Asked {
  const parts: Part[] = [];
  let finish: (part: Part) => void;
  const done = new Promise<Part>((resolve) => {
    finish = resolve;
  });
  const client = facts.client ?? "device";
  const request: Request = {
    channel: "mqtt",
    client,
    text,
    stream: true,
    fingerprint: `${client} ${text}`,
    redelivered: false,
    durable: false,
    address: `/${client}/response`,
    ...facts,
    async reply(part) {
      parts.push(part);
      await deliver(part);
      // The client's next request takes a moment: by then the gateway knows that this one was delivered.
      if (part.done) setImmediate(() => finish(part));
    },
  };
  return { request, parts, done, text: () => parts.map((part) => part.text).join("") };
}

/** Delivery that waits for `open`, as while the broker is away. */
export function createGate(): { deliver: () => Promise<void>; open: () => void } {
  const gate = new AbortController();
  const opened = new Promise<void>((resolve) => {
    gate.signal.addEventListener("abort", () => resolve());
  });
  return { deliver: () => opened, open: () => gate.abort() };
}
