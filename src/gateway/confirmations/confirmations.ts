import { randomBytes } from "node:crypto";
import { failpoint } from "../../base/failpoint.ts";
import { asFailure, Failure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import type {
  Confirmation,
  ConfirmationStore,
  NewConfirmation,
} from "../../store/contract/confirmations.ts";
import type { Clock } from "../clock.ts";
import type { Push, PromptPush, ReadyPush } from "../contract.ts";

export interface ConfirmationsOptions {
  readonly store: ConfirmationStore;
  readonly push: (push: Push) => Promise<unknown>;
  readonly clock: Pick<Clock, "epoch" | "after">;
  readonly log: Log;
}

/** A client of a channel. */
interface Client {
  readonly channel: string;
  readonly client: string;
}

/** A call that somebody has to allow. */
export interface WaitingCall extends Omit<NewConfirmation, "id" | "until"> {
  /** For how long somebody may decide. */
  readonly milliseconds: number;
}

export type Decision = "confirmed" | "denied";

/** How often gateways look for what is left to do, in milliseconds. */
const SWEEP_MS = 15_000;
/** A confirmed call begins within this time, or does not run. */
const BEGIN_MS = 10 * 60_000;
/** For how long the client can learn that its call does not run. */
const INFORM_MS = 24 * 60 * 60_000;
const MOST = { ofClient: 5, ofAll: 200 };
/** Letters and digits that nobody takes for one another. */
const LETTERS = "23456789abcdefghjkmnpqrstuvwxyz";

/**
 * Calls that wait for a person. Each is in the store until it is decided, by a client that may decide, or its time
 * is over; only one of several gateways writes each step. What follows a step is pushed under an id that is made of
 * the call's: whoever finds it undone does it, also after a crash, and it is done once.
 */
export class Confirmations {
  readonly #options: ConfirmationsOptions;
  #cancelTimer: (() => void) | undefined;
  #isClosed = false;

  constructor(options: ConfirmationsOptions) {
    this.#options = options;
  }

  /** Does what was left to do, now and regularly. */
  start(): void {
    void this.#sweep();
  }

  /** Leaves no timer. */
  close(): void {
    this.#isClosed = true;
    this.#cancelTimer?.();
  }

  /**
   * Stores the call and asks those who may decide. The same call that waits already is asked about once. Rejects
   * with a `Failure` if too many wait, or nobody can be asked.
   */
  async ask(call: WaitingCall): Promise<Confirmation> {
    const { store, clock } = this.#options;
    const now = clock.epoch();
    const same = (await store.open()).find((each) => each.until > now && isSame(each, call));
    // Whoever stored it may have been cut off before it asked.
    if (same !== undefined) return this.#ask(same);
    const { milliseconds, ...wanted } = call;
    const until = now + milliseconds;
    const waiting = { ...wanted, id: newId(), until, state: "waiting" } as const;
    if (!(await store.add(waiting, MOST))) {
      throw new Failure("busy", "too many calls wait for a confirmation");
    }
    return this.#ask(waiting);
  }

  /** The calls that this client may decide about. */
  async waitingFor({ channel, client }: Client): Promise<readonly Confirmation[]> {
    const now = this.#options.clock.epoch();
    return (await this.#options.store.open()).filter(
      (each) =>
        each.state === "waiting" &&
        each.until > now &&
        each.channel === channel &&
        each.by.includes(client),
    );
  }

  /**
   * Decides about a call, once. Returns the call as it is afterwards: another decision, or none in time, may have
   * been before. Undefined if this client may not decide about a call of that id.
   */
  async decide(id: string, decision: Decision, by: Client): Promise<Confirmation | undefined> {
    const { store, clock } = this.#options;
    const found = await store.find(id.toLowerCase());
    if (found === undefined || found.channel !== by.channel || !found.by.includes(by.client)) {
      return undefined;
    }
    if (found.state !== "waiting" || found.until <= clock.epoch()) return found;
    const until = clock.epoch() + (decision === "confirmed" ? BEGIN_MS : INFORM_MS);
    const move = { state: decision, until, decidedBy: by.client };
    const isFirst = await store.move(found.id, "waiting", move);
    if (!isFirst) return store.find(found.id);
    failpoint("call_confirmed");
    const decided = { ...found, ...move };
    await this.#continue(decided).catch((thrown: unknown) => this.#report(thrown));
    return decided;
  }

  /**
   * The confirmed call of that id, for the turn of its client that makes it. `isFirst` is true once: whoever gets
   * that runs it. Undefined if there is none.
   */
  async begin(
    id: string,
    { channel, client }: Client,
  ): Promise<{ readonly call: Confirmation; readonly isFirst: boolean } | undefined> {
    const { store, clock } = this.#options;
    const call = await store.find(id);
    if (call === undefined || call.channel !== channel || call.client !== client) return undefined;
    if (call.state === "begun") return { call, isFirst: false };
    if (call.state !== "confirmed" || call.until <= clock.epoch()) return undefined;
    const isFirst = await store.move(id, "confirmed", { state: "begun" });
    failpoint("call_begun");
    return { call, isFirst };
  }

  async #ask(waiting: Confirmation): Promise<Confirmation> {
    const { clock, store } = this.#options;
    const { id, channel, by, question, until } = waiting;
    const minutes = Math.max(1, Math.ceil((until - clock.epoch()) / 60_000));
    const how = `Send /confirm ${id} to allow it, /deny ${id} to refuse it, within ${minutes} min.`;
    const text = `${question}\n${how}`;
    // The whole text also for displays: nobody decides about what was cut off.
    const ask = { id: `confirm-${id}`, channel, expiresAt: until, text, whole: true } as const;
    const asked = await Promise.allSettled(by.map((client) => this.#push({ ...ask, client })));
    if (asked.some(({ status }) => status === "fulfilled")) return waiting;
    await store.move(id, "waiting", { state: "informed" });
    throw new Failure("busy", "nobody can be asked for the confirmation now");
  }

  async #sweep(): Promise<void> {
    const { store, clock } = this.#options;
    const open = await store.open().catch((thrown: unknown) => this.#report(thrown));
    for (const each of open ?? []) {
      if (!this.#isClosed)
        await this.#continue(each).catch((thrown: unknown) => this.#report(thrown));
    }
    if (!this.#isClosed) this.#cancelTimer = clock.after(SWEEP_MS, () => void this.#sweep());
  }

  /** Does what follows the state of a call, as often as it takes. */
  async #continue(call: Confirmation): Promise<void> {
    const { store, clock } = this.#options;
    const { id, state, until } = call;
    const isOver = until <= clock.epoch();
    if (isOver && (state === "waiting" || state === "confirmed")) {
      const expired = { state: "expired", until: clock.epoch() + INFORM_MS } as const;
      if (await store.move(id, state, expired)) await this.#continue({ ...call, ...expired });
    } else if (state === "confirmed") {
      await this.#run(call);
    } else if (state === "denied" || state === "expired") {
      // Its channel may be gone for good.
      if (!isOver) await this.#tell(call).catch(unlessForbidden);
      await store.move(id, state, { state: "informed" });
    }
  }

  /** Has the call made in a turn of its client. */
  async #run({ id, channel, client, tool, until, decidedBy = "" }: Confirmation): Promise<void> {
    const prompt = `${decidedBy} has confirmed the call of ${tool} that waited (${id}). The program makes it now; its result follows. Tell the client in one or two sentences what came of it.`;
    const confirmation = id;
    await this.#push({
      id: `confirmed-${id}`,
      channel,
      client,
      expiresAt: until,
      prompt,
      confirmation,
    });
  }

  async #tell({ id, channel, client, tool, state, decidedBy }: Confirmation): Promise<void> {
    const why =
      state === "denied"
        ? `${decidedBy ?? "somebody"} has refused it`
        : "it was not confirmed, or could not begin, in time";
    const text = `The call of ${tool} (${id}) was not made: ${why}.`;
    await this.#push({ id: `confirmed-${id}`, channel, client, text });
  }

  async #push(
    push: Client & Pick<Push, "id" | "expiresAt"> & (ReadyPush | PromptPush),
  ): Promise<void> {
    await this.#options.push({ ...push, from: "confirm" });
  }

  #report(thrown: unknown): void {
    const { message, why } = asFailure(thrown);
    this.#options.log.warn("a confirmation has to wait", { error: message, why });
  }
}

/** A client that may not ask any more is not told. */
function unlessForbidden(thrown: unknown): void {
  if (asFailure(thrown).code !== "forbidden") throw thrown;
}

function isSame(
  one: Confirmation,
  { channel, client, tool, arguments: words }: WaitingCall,
): boolean {
  const isOf = one.channel === channel && one.client === client;
  return isOf && one.state === "waiting" && one.tool === tool && one.arguments === words;
}

/** Six letters and digits: short enough to be typed. It is no secret: who decides is known by the topic. */
function newId(): string {
  return Array.from(randomBytes(6), (byte) => LETTERS[byte % LETTERS.length]).join("");
}
