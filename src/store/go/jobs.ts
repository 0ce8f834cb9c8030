import { at, fromJson, listAt, textAt } from "../../base/unknown.ts";
import type { JobPayload, JobSchedule, NewJob } from "../contract/jobs.ts";

/** What `cron/jobs.json` of the Go program holds. */
export interface GoJobs {
  /** Those of MQTT clients, for a channel. */
  readonly jobs: readonly GoJob[];
  /** Of other channels, done for good, or not understood. */
  readonly skipped: number;
}

export interface GoJob extends NewJob {
  readonly isEnabled: boolean;
}

export interface GoJobsOptions {
  /** The name of the only channel. The Go program calls each of its MQTT channels `mqtt`. */
  readonly channel: string;
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** The time zone of a cron expression without one. */
  readonly zone: string;
}

/** Bounds of what is taken over; the Go program has none. */
const MAX_ID = 64;
const MAX_NAME = 100;
const MAX_TEXT = 32_768;
const MIN_EVERY_MS = 60_000;

/** Throws if the text is no JSON. */
export function goJobsIn(text: string, options: GoJobsOptions): GoJobs {
  const found = listAt(fromJson(text), "jobs");
  const jobs = found.flatMap((job) => goJob(job, options) ?? []);
  return { jobs, skipped: found.length - jobs.length };
}

/** The client id of a chat of the Go program; undefined if that is none of MQTT. */
function clientOfChat(chat: string): string | undefined {
  return /^mqtt:([\s\S]+)$/.exec(chat)?.[1];
}

/** The client that `state/state.json` names as the last one; undefined if there was none, or one of another channel. */
export function lastClientIn(text: string): string | undefined {
  try {
    const [, chat = ""] = /^mqtt:([\s\S]*)$/.exec(textAt(fromJson(text), "last_channel")) ?? [];
    return clientOfChat(chat);
  } catch {
    return undefined;
  }
}

function goJob(job: unknown, options: GoJobsOptions): GoJob | undefined {
  const [id, payload] = [textAt(job, "id"), at(job, "payload")];
  const client = clientOfChat(textAt(payload, "to"));
  const content = contentOf(payload);
  const schedule = scheduleOf(at(job, "schedule"), options);
  if (!/^[\w-]+$/.test(id) || id.length > MAX_ID || textAt(payload, "channel") !== "mqtt")
    return undefined;
  if (client === undefined || content === undefined || schedule === undefined) return undefined;
  const nextAt = numberAt(at(job, "state"), "nextRunAtMs");
  return {
    id,
    channel: options.channel,
    client,
    name: textAt(job, "name").slice(0, MAX_NAME) || id,
    schedule,
    payload: content,
    // The owner of the machine made commands there; their clients may enable them.
    isEnabled: at(job, "enabled") !== false && content.kind !== "command",
    ...(nextAt !== undefined && { nextAt }),
  };
}

function contentOf(payload: unknown): JobPayload | undefined {
  const [message, command] = [textAt(payload, "message"), textAt(payload, "command")];
  const text = command.trim() === "" ? message : command;
  if (text.trim() === "" || text.length > MAX_TEXT) return undefined;
  if (text === command) return { kind: "command", text };
  return { kind: at(payload, "deliver") === true ? "text" : "message", text };
}

function scheduleOf(schedule: unknown, { now, zone }: GoJobsOptions): JobSchedule | undefined {
  const expr = textAt(schedule, "expr");
  switch (textAt(schedule, "kind")) {
    case "at": {
      // The Go program never does what is past at its start.
      const time = numberAt(schedule, "atMs");
      return time !== undefined && time > now ? { kind: "at", at: time } : undefined;
    }
    case "every": {
      const ms = numberAt(schedule, "everyMs");
      return ms === undefined || ms <= 0
        ? undefined
        : { kind: "every", ms: Math.max(ms, MIN_EVERY_MS) };
    }
    case "cron":
      return expr === "" ? undefined : { kind: "cron", expr, zone: textAt(schedule, "tz") || zone };
    default:
      return undefined;
  }
}

/** Milliseconds: with the time of now they still make a date. */
const MAX_MS = 2 ** 52;

function numberAt(value: unknown, key: string): number | undefined {
  const found = at(value, key);
  const isTime = typeof found === "number" && Number.isInteger(found) && found <= MAX_MS;
  return isTime ? found : undefined;
}
