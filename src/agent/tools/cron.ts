import * as v from "valibot";
import { escapeControl } from "../../base/escape-control.ts";
import { Failure } from "../../base/failure.ts";
import { truncate } from "../../base/truncate.ts";
import { at, textAt } from "../../base/unknown.ts";
import type { ToolSettings } from "../../config/contract.ts";
import { RefusedCall, ToolError } from "./contract.ts";
import type { CallContext, Tool } from "./contract.ts";
import { defineTool, flagField, textField } from "./define.ts";

/** Seconds between a job and one that its turn makes, as between two firings of one. */
const LEAST_PAUSE = 60;
const MAX_SECONDS = 366 * 24 * 60 * 60;

const seconds = (about: string) =>
  v.optional(v.pipe(v.number(), v.minValue(0), v.maxValue(MAX_SECONDS), v.description(about)));

const input = v.object({
  action: v.picklist(["add", "list", "get", "update", "remove", "enable", "disable"]),
  job_id: v.optional(textField("For get, update, remove, enable, disable.")),
  name: v.optional(textField("A short name.")),
  message: v.optional(
    textField(
      "The task that you get when the job is due, in words that are clear without this conversation.",
    ),
  ),
  command: v.optional(
    textField("A shell command to run in place of a message; its output is sent."),
  ),
  command_confirm: v.optional(
    flagField("The user has explicitly asked for this command to run by schedule."),
  ),
  at_seconds: seconds("Once, in so many seconds."),
  every_seconds: seconds("Again and again, every so many seconds; at least 60."),
  cron_expr: v.optional(textField("At these times, as in crontab: 0 9 * * 1-5")),
  tz: v.optional(textField("The IANA time zone of cron_expr; default: that of this device.")),
});

type Input = v.InferOutput<typeof input>;

/** The tool that does something for its client later: once, or again and again. */
export function createCronTool(jobs: Jobs, settings: CronSettings): Tool {
  return defineTool({
    name: "cron",
    description:
      "Reminders and tasks at a later time. When the user asks to be reminded, or for something that repeats, call this tool: add needs a message and one of at_seconds, every_seconds, cron_expr.",
    input,
    exclusive: true,
    // The calls of a task wait themselves when they are made; a command runs without a question then.
    async actsOn(wanted, call) {
      if (["list", "get"].includes(textAt(wanted, "action"))) return undefined;
      return (await isForCommand(jobs, wanted, call)) ? ["exec"] : [];
    },
    // The arguments of such a change do not say which command it has run later.
    async effect(wanted, call) {
      if (textAt(wanted, "command").trim() !== "") {
        checkCommand(at(wanted, "command_confirm"), call, settings);
        return undefined;
      }
      const job = await changedJob(jobs, wanted, call);
      return job?.payload.kind === "command" ? { runs: { command: job.payload.text } } : undefined;
    },
    async run(wanted, call) {
      if (wanted.command?.trim()) checkCommand(wanted.command_confirm, call, settings);
      if (call.isFromJob) checkPause(wanted);
      try {
        return await act(jobs, wanted, call);
      } catch (thrown) {
        if (thrown instanceof Failure) throw new ToolError(thrown.message);
        throw thrown;
      }
    },
  });
}

/** Whether the call has a command run later: by a new job, or by one that is changed or enabled. */
async function isForCommand(jobs: Jobs, wanted: unknown, call: CallContext): Promise<boolean> {
  if (textAt(wanted, "command").trim() !== "") return true;
  return (await changedJob(jobs, wanted, call))?.payload.kind === "command";
}

/** The job that the call changes or enables. */
async function changedJob(
  jobs: Jobs,
  wanted: unknown,
  { channel, client }: CallContext,
): Promise<ScheduledJob | undefined> {
  if (channel === undefined || !["update", "enable"].includes(textAt(wanted, "action")))
    return undefined;
  // The call itself says why there is none.
  const job = jobs.get({ channel, client }, textAt(wanted, "job_id").trim());
  return job.catch(() => undefined);
}

async function act(
  jobs: Jobs,
  wanted: Input,
  { channel, client, isConfirmed = false }: CallContext,
): Promise<string> {
  if (channel === undefined) throw new ToolError("jobs are only for clients of a channel");
  const owner = { channel, client };
  if (wanted.action === "list") return listText(await jobs.list(owner));
  if (wanted.action === "add")
    return `Added. ${jobText(await jobs.add(owner, draftOf(wanted, isConfirmed)))}`;
  const id = wanted.job_id?.trim() ?? "";
  if (id === "") throw new ToolError(`${wanted.action} needs a job_id, which list shows`);
  if (wanted.action === "get") return jobText(await jobs.get(owner, id), true);
  if (wanted.action === "update") {
    return `Updated. ${jobText(await jobs.update(owner, id, changesOf(wanted, isConfirmed)), true)}`;
  }
  if (wanted.action === "remove") {
    await jobs.remove(owner, id);
    return "Removed.";
  }
  const isEnabled = wanted.action === "enable";
  const job = await jobs.enable(owner, id, { isEnabled, isConfirmed });
  return `${isEnabled ? "Enabled" : "Disabled"}. ${jobText(job)}`;
}

function draftOf(wanted: Input, isConfirmed: boolean): JobDraft {
  const { payload, schedule, ...rest } = changesOf(wanted, isConfirmed);
  if (payload === undefined) throw new ToolError("add needs a message");
  if (schedule === undefined) {
    throw new ToolError("add needs one of at_seconds, every_seconds, cron_expr");
  }
  return { ...rest, payload, schedule };
}

function changesOf(wanted: Input, isConfirmed: boolean): JobChanges {
  const { name, message = "", command = "" } = wanted;
  const text = command.trim() === "" ? message : command;
  return {
    // What a model gives with a command says what that is for.
    name: name ?? (text === command && message !== "" ? truncate(message, 80) : undefined),
    schedule: scheduleOf(wanted),
    isConfirmed,
    ...(text.trim() !== "" && {
      payload: { kind: text === command ? "command" : "message", text },
    }),
  };
}

/** As in the Go program, weak models write 0 and "" for what they leave out. */
function scheduleOf({ at_seconds, every_seconds, cron_expr = "", tz }: Input) {
  if (at_seconds) return { kind: "in", seconds: at_seconds } as const;
  if (every_seconds) return { kind: "every", seconds: every_seconds } as const;
  if (cron_expr.trim() === "") return undefined;
  return { kind: "cron", expr: cron_expr, zone: tz?.trim() || undefined } as const;
}

type CronSettings = Pick<ToolSettings["cron"], "allow_command">;

/** Throws if a job has the next one follow at once: each could make two, for ever, and no client asks. */
function checkPause({ at_seconds: wait }: Input): void {
  if (wait === undefined || wait === 0 || wait >= LEAST_PAUSE) return;
  throw new ToolError(`what a job schedules is due in ${LEAST_PAUSE} seconds at the soonest`);
}

/** Throws if the command must not become a job. */
function checkCommand(
  isConfirmed: unknown,
  { permissions }: CallContext,
  { allow_command }: CronSettings,
): void {
  if (!allow_command || !permissions.allows("exec")) {
    throw new RefusedCall("this client may not run commands by schedule");
  }
  if (isConfirmed !== true) {
    throw new ToolError(
      "a command needs command_confirm: ask the user whether exactly this command may run by schedule",
    );
  }
}

function listText(found: readonly ScheduledJob[]): string {
  if (found.length === 0) return "There are no jobs.";
  return found.map((job) => jobText(job)).join("\n");
}

/** Characters of a text in a list. */
const SHORT = 80;

/** One job on a line; with its whole text if that is asked for. */
export function jobText(job: ScheduledJob, isWhole = false): string {
  const { id, name, payload, nextAt, lastAt, lastError } = job;
  const text = isWhole ? payload.text : truncate(payload.text, SHORT);
  const facts = [
    `${escapeControl(name)} (job_id ${id})`,
    scheduleText(job),
    nextAt === undefined ? "disabled" : `next ${timeText(nextAt)}`,
    ...(lastAt === undefined ? [] : [`last ${timeText(lastAt)}`]),
    ...(lastError === undefined ? [] : [`failed: ${escapeControl(lastError)}`]),
    `${payload.kind}: ${escapeControl(text, isWhole ? "\n\t" : "")}`,
  ];
  return facts.join("; ");
}

function scheduleText({ schedule }: ScheduledJob): string {
  if (schedule.kind === "at") return `once at ${timeText(schedule.at)}`;
  if (schedule.kind === "every") return `every ${schedule.ms / 1000} s`;
  return `${escapeControl(schedule.expr)} in ${escapeControl(schedule.zone)}`;
}

function timeText(time: number): string {
  return new Date(time).toISOString();
}

/** The jobs of clients. Each rejects with a `Failure` whose message the client may read. */
export interface Jobs {
  list(owner: JobOwner): Promise<readonly ScheduledJob[]>;
  get(owner: JobOwner, id: string): Promise<ScheduledJob>;
  add(owner: JobOwner, draft: JobDraft): Promise<ScheduledJob>;
  update(owner: JobOwner, id: string, changes: JobChanges): Promise<ScheduledJob>;
  enable(owner: JobOwner, id: string, wanted: Enabling): Promise<ScheduledJob>;
  remove(owner: JobOwner, id: string): Promise<void>;
}

export interface JobOwner {
  readonly channel: string;
  readonly client: string;
}

/** Times are milliseconds since the epoch. */
export interface ScheduledJob {
  readonly id: string;
  readonly name: string;
  readonly schedule:
    | { readonly kind: "at"; readonly at: number }
    | { readonly kind: "every"; readonly ms: number }
    | { readonly kind: "cron"; readonly expr: string; readonly zone: string };
  readonly payload: { readonly kind: string; readonly text: string };
  /** Absent while it is disabled. */
  readonly nextAt?: number;
  readonly lastAt?: number;
  readonly lastError?: string;
}

interface Enabling {
  readonly isEnabled: boolean;
  readonly isConfirmed: boolean;
}

interface JobChanges {
  /** A person has allowed the change, and with it the command that runs. */
  readonly isConfirmed?: boolean | undefined;
  readonly name?: string | undefined;
  readonly payload?: { readonly kind: "message" | "command"; readonly text: string } | undefined;
  readonly schedule?:
    | { readonly kind: "in" | "every"; readonly seconds: number }
    | { readonly kind: "cron"; readonly expr: string; readonly zone?: string | undefined }
    | undefined;
}

interface JobDraft extends JobChanges {
  readonly payload: NonNullable<JobChanges["payload"]>;
  readonly schedule: NonNullable<JobChanges["schedule"]>;
}
