import { escapeControl, jsonLine } from "../../base/escape-control.ts";
import { Failure } from "../../base/failure.ts";
import { suggestWord } from "../../base/spelling.ts";
import type { Job } from "../../store/contract/jobs.ts";
import { loadOrThrow } from "../connection.ts";
import { type Context, createCommandLog } from "../context.ts";
import { openStoredJobs, type StoredJobs } from "../state/stored-jobs.ts";
import { listing } from "../terminal/table.ts";

/** `picoclaw jobs list|remove|run [id]`. */
export async function run(context: Context): Promise<number> {
  const { words, flags } = context;
  const [what = "list", id] = words;
  if (what === "list" && id !== undefined) {
    throw new Failure("usage", `jobs list does not take "${id}"`);
  }
  if (what !== "list" && id === undefined) throw new Failure("usage", `jobs ${what} needs <id>`);
  const log = await createCommandLog(context);
  const { config } = await loadOrThrow(context, log, {});
  const [channel, client] = [flags.text("channel"), flags.text("client")];
  const stored = await openStoredJobs(config, { readOnly: what === "list" });
  try {
    const jobs = (await stored.jobs()).filter(
      (job) =>
        (channel === undefined || job.channel === channel) &&
        (client === undefined || job.client === client),
    );
    if (id === undefined) await list(jobs, context);
    else if (what === "remove") await remove(jobOf(jobs, id), stored, context);
    else await makeDue(jobOf(jobs, id), stored, context);
  } finally {
    await stored.close();
  }
  return 0;
}

function jobOf(jobs: readonly Job[], id: string): Job {
  const job = jobs.find((each) => each.id === id);
  if (job !== undefined) return job;
  const ids = jobs.map((each) => each.id);
  const guess = suggestWord(id, ids);
  throw new Failure("failed", `there is no job ${id}`, {
    remedy: guess === undefined ? "picoclaw jobs list" : `did you mean ${guess}?`,
  });
}

async function list(
  jobs: readonly Job[],
  { host: { stdout }, flags, redactor }: Context,
): Promise<void> {
  if (flags.has("json")) {
    for (const job of jobs)
      await stdout.write(redactor.redact(jsonLine({ v: 1, ...factsOf(job) })));
    return;
  }
  const rows = jobs.map((job) => [
    job.id,
    escapeControl(job.client),
    escapeControl(job.channel),
    job.nextAt === undefined ? "disabled" : timeOf(job.nextAt),
    escapeControl(scheduleText(job)),
    escapeControl(redactor.redact(job.name)),
  ]);
  await stdout.write(listing(stdout, HEAD, rows));
}

const HEAD = ["id", "client", "channel", "next", "schedule", "name"];

function scheduleText({ schedule }: Job): string {
  if (schedule.kind === "at") return "once";
  return schedule.kind === "every"
    ? `every ${schedule.ms / 1000} s`
    : `${schedule.expr} in ${schedule.zone}`;
}

function factsOf({ id, channel, client, name, schedule, payload, ...job }: Job): object {
  const { nextAt, lastAt, lastError } = job;
  return {
    type: "job",
    id,
    channel,
    client,
    name,
    enabled: nextAt !== undefined,
    schedule: scheduleFacts(schedule),
    [payload.kind]: payload.text,
    ...(nextAt !== undefined && { next_at: timeOf(nextAt) }),
    ...(lastAt !== undefined && { last_at: timeOf(lastAt) }),
    ...(lastError !== undefined && { last_error: lastError }),
  };
}

function scheduleFacts(schedule: Job["schedule"]): object {
  if (schedule.kind === "at") return { at: timeOf(schedule.at) };
  if (schedule.kind === "every") return { every_seconds: schedule.ms / 1000 };
  return { cron_expr: schedule.expr, tz: schedule.zone };
}

async function remove(job: Job, stored: StoredJobs, { host, flags }: Context): Promise<void> {
  await stored.remove(job);
  const { id, channel, client } = job;
  await host.stdout.write(
    flags.has("json")
      ? jsonLine({ v: 1, type: "removed", id, channel, client })
      : `removed the job ${id} of ${escapeControl(client)} (${escapeControl(channel)})\n`,
  );
}

async function makeDue(job: Job, stored: StoredJobs, { host, flags }: Context): Promise<void> {
  const { id, channel, client, nextAt } = job;
  if (nextAt === undefined) {
    throw new Failure("failed", `the job ${id} is disabled`, {
      remedy: `its client may enable it: ask the agent for that as ${client}`,
    });
  }
  await stored.change({ ...job, nextAt: Date.now() });
  await host.stdout.write(
    flags.has("json")
      ? jsonLine({ v: 1, type: "due", id, channel, client })
      : `the job ${id} of ${escapeControl(client)} is due: a running gateway does it within 5 seconds\n`,
  );
}

/** ISO 8601 in UTC. */
function timeOf(at: number): string {
  return new Date(at).toISOString();
}
