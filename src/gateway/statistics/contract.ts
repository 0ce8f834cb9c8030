import type { Limits } from "../../base/contract.ts";

/**
 * What a running gateway knows of itself: the JSON of `picoclaw status --json`, of `GET /status` and of the page;
 * `GET /metrics` shows its numbers. Names of clients, tools and models, and all texts, come from outside: whoever
 * shows them makes control characters visible and escapes HTML. Counters begin at 0 with the process; a field without
 * a value is left out.
 */
export interface GatewayStatus {
  readonly v: 1;
  readonly type: "status";
  /**
   * `ready`: every channel is connected and subscribed, and requests can be stored. `not_ready`: not so, and `reason`
   * says why.
   */
  readonly state: "ready" | "not_ready";
  readonly reason?: string;
  readonly version: string;
  readonly pid: number;
  /** The name of this gateway for others: 12 hex digits. */
  readonly instance: string;
  /** When the gateway started: ISO 8601, UTC. */
  readonly since: string;
  readonly uptime_s: number;
  readonly channels: readonly StatusChannel[];
  readonly agent: StatusAgent;
  readonly queue: StatusQueue;
  /** Absent if no topic is watched. */
  readonly watch?: StatusWatches;
  readonly memory: { readonly resident_bytes: number; readonly heap_bytes: number };
  /** Today's usage of the whole gateway and of each channel. Days begin at local midnight. */
  readonly usage: { readonly gateway: StatusUsage; readonly channels: readonly StatusUsage[] };
  /** The clients that used most today, 20 at the most, the heaviest first. */
  readonly clients: readonly StatusClient[];
  /** Since the start, by channel. */
  readonly requests: readonly StatusRequests[];
  /** Model calls since the start, by `model_name`. */
  readonly models: readonly StatusModel[];
  /** Tool calls since the start, by tool and verdict. */
  readonly tools: readonly StatusTool[];
  /** How long transactions of the store took. */
  readonly store: { readonly commit_seconds: StatusHistogram };
  /** What is done for clients later; absent if there is none, or while the store cannot be read. */
  readonly jobs?: StatusJobs;
  /** The last minutes that had requests, of four hours at the most, the oldest first. */
  readonly minutes: readonly StatusMinute[];
  /** The last requests, 100 at the most, the newest first. */
  readonly recent: readonly StatusRequest[];
}

export interface StatusChannel {
  readonly name: string;
  readonly agent_id: string;
  readonly topic_prefix: string;
  /** The URLs of the broker, without credentials. */
  readonly broker: readonly string[];
  readonly qos: 0 | 1 | 2;
  /** Connected, subscribed, and proven to deliver. */
  readonly connected: boolean;
  /** Why it is not. */
  readonly problem?: string;
  /** Sessions with requests for this gateway that the broker has lost. */
  readonly sessions_lost: number;
  /** Messages that the broker has dropped from full queues of all its clients, as far as it tells. */
  readonly messages_dropped: number;
  /** Gateways that serve the same agent id without sharing the work. */
  readonly other_gateways: number;
}

export interface StatusAgent {
  /** The `model_name` that answers now; absent for the offline agent. */
  readonly model?: string;
  /** Its protocol. */
  readonly provider?: string;
}

export interface StatusJobs {
  readonly jobs: number;
  /** Of these, the ones that are not disabled. */
  readonly enabled: number;
  /** When the next one is due: ISO 8601, UTC. */
  readonly next_at?: string;
}

/** The topics of `tools.mqtt.watch`. */
export interface StatusWatches {
  readonly watches: number;
  /** Topics of which something is remembered: to compare it with the next message. */
  readonly topics: number;
  /** Turns that began for them since the start. */
  readonly started: number;
}

export interface StatusQueue {
  /** Turns that run, and how many may. */
  readonly running: number;
  readonly slots: number;
  /** Accepted requests whose turn has not begun. */
  readonly waiting: number;
  /** All that is under way: also answers that are being delivered. */
  readonly in_flight: number;
}

/** Usage of today, and the limits that it counts for; a limit of 0 is no limit. */
export interface StatusUsage {
  /** Absent for the whole gateway. */
  readonly channel?: string;
  readonly requests: number;
  readonly tokens: number;
  /** In the units of `model_list[].prices`. */
  readonly cost: number;
  /** Rejections by error code. */
  readonly rejected: Readonly<Record<string, number>>;
  readonly limits: Limits;
}

export interface StatusClient {
  readonly channel: string;
  /** At most 128 characters and an ellipsis. */
  readonly client: string;
  readonly requests: number;
  readonly tokens: number;
  readonly cost: number;
}

/** What became of the requests of one channel. */
export interface StatusRequests {
  readonly channel: string;
  /**
   * By outcome: `ok`, an error code of the wire, `duplicate` (got the answer of an earlier one), `refused` (the broker
   * refused the answer), `undelivered` (the answer could not be delivered otherwise), `dropped` (rejected without an
   * answer: too many wait), `resumable` (left to the next start).
   */
  readonly outcomes: Readonly<Record<string, number>>;
  /** From the arrival of a request to the delivery of the last part of its answer. */
  readonly duration_seconds: StatusHistogram;
  /** To the first part. */
  readonly first_part_seconds: StatusHistogram;
}

/** Values by size. `counts` has one number more than `bounds`: the values above all of them. */
export interface StatusHistogram {
  /** Upper bounds, inclusive. */
  readonly bounds: readonly number[];
  /** Values of each bucket alone, not cumulated. */
  readonly counts: readonly number[];
  readonly sum: number;
}

export interface StatusModel {
  readonly model: string;
  readonly provider: string;
  readonly calls: number;
  readonly failed: number;
  readonly tokens_in: number;
  /** The part of `tokens_in` that came from the provider's cache. */
  readonly tokens_cached: number;
  readonly tokens_out: number;
  readonly cost: number;
}

export interface StatusTool {
  readonly tool: string;
  readonly verdict: string;
  readonly calls: number;
  readonly seconds: number;
}

/** One minute that had requests. */
export interface StatusMinute {
  /** Its beginning: ISO 8601, UTC. */
  readonly at: string;
  readonly requests: number;
  readonly failed: number;
  readonly tokens: number;
  /** From arrival to the first part: mean and longest. */
  readonly first_ms?: number;
  readonly first_ms_most?: number;
  /** From arrival to the last part: mean and longest. */
  readonly answer_ms?: number;
  readonly answer_ms_most?: number;
}

/** One request that has ended. */
export interface StatusRequest {
  /** Counts the requests of this process: a reader that has seen 7 shows what is above it. */
  readonly number: number;
  /** When it ended: ISO 8601, UTC. */
  readonly at: string;
  readonly channel: string;
  /** At most 128 characters and an ellipsis. */
  readonly client: string;
  /** The client's own id of the request. */
  readonly id?: string;
  /** `ok`, or an error code of the wire; see `StatusRequests.outcomes`. */
  readonly outcome: string;
  /** What failed, in one sentence. */
  readonly message?: string;
  /** From arrival to the start of the turn, the first and the last part. */
  readonly queued_ms?: number;
  readonly first_ms?: number;
  readonly ms?: number;
  readonly tokens_in?: number;
  readonly tokens_out?: number;
  readonly cost?: number;
  /** The first 20 tool calls in the order of their ends. */
  readonly tools?: readonly {
    readonly name: string;
    readonly verdict: string;
    readonly ms: number;
  }[];
  /** The beginnings of question and answer; only with `--log-content`. */
  readonly question?: string;
  readonly answer?: string;
}
