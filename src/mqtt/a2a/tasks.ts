import type { Task } from "./rpc.ts";

const MAX_TASKS = 1_000;
/** UTF-16 units of one kept answer, and of all. */
const MAX_TEXT = 64 * 1024;
const MAX_TEXTS = 4 * 1024 * 1024;

/** The latest tasks of this process, by requester and id; the oldest are forgotten first. */
export class Tasks {
  readonly #tasks = new Map<string, Task>();
  readonly #kept = new Set<Task>();
  #texts = 0;

  get(requester: string, taskId: string): Task | undefined {
    return this.#tasks.get(`${requester}/${taskId}`);
  }

  /** The task, new as submitted if it is not known. */
  add(requester: string, { taskId, contextId }: Pick<Task, "taskId" | "contextId">): Task {
    const known = this.get(requester, taskId);
    if (known !== undefined) return known;
    const task: Task = { taskId, contextId, state: "SUBMITTED", updatedAt: new Date(), text: "" };
    this.#tasks.set(`${requester}/${taskId}`, task);
    this.#kept.add(task);
    this.#trim();
    return task;
  }

  change(task: Task, state: Task["state"], text = ""): void {
    task.state = state;
    task.updatedAt = new Date();
    // It was forgotten while it ran: its text would be counted for ever.
    if (!this.#kept.has(task)) return;
    const kept = text.length > MAX_TEXT ? text.slice(0, MAX_TEXT).toWellFormed() : text;
    this.#texts += kept.length - task.text.length;
    task.text = kept;
    this.#trim();
  }

  #trim(): void {
    for (const [name, task] of this.#tasks) {
      if (this.#tasks.size <= MAX_TASKS && this.#texts <= MAX_TEXTS) return;
      this.#tasks.delete(name);
      this.#kept.delete(task);
      this.#texts -= task.text.length;
      task.text = "";
    }
  }
}
