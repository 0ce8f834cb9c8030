import type { A2aRecipient } from "./reply.ts";

/** Tasks, and requests, that are remembered. */
const MOST = 1_000;

type Request = Pick<A2aRecipient, "topic" | "taskId" | "correlationData">;

/**
 * Which requests of this process have been sent again since: a requester that sends a task again, with another
 * Correlation Data on the same Response Topic, has given up the request before. Both answers would be one stream to it.
 */
export class Retries {
  /** By task and Response Topic. */
  readonly #latest = new Map<string, string>();
  readonly #replaced = new Set<string>();

  /** A request came, for the first time. */
  received(request: Request): void {
    const task = `${request.topic} ${request.taskId}`;
    const name = nameOf(request);
    const before = this.#latest.get(task);
    if (before !== undefined && before !== name) this.#replaced.add(before);
    this.#replaced.delete(name);
    this.#latest.delete(task);
    this.#latest.set(task, name);
    for (const kept of [this.#latest, this.#replaced]) {
      const [oldest] = kept.keys();
      if (kept.size > MOST && oldest !== undefined) kept.delete(oldest);
    }
  }

  isReplaced(request: Request): boolean {
    return this.#replaced.has(nameOf(request));
  }
}

function nameOf({ topic, taskId, correlationData }: Request): string {
  return `${topic} ${correlationData.toString("base64")} ${taskId}`;
}
