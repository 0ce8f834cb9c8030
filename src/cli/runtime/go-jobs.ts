import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { readWithin } from "../../agent/workspace/files.ts";
import { withoutComments } from "../../agent/workspace/markdown.ts";
import { codeOf } from "../../base/failure.ts";
import { writeAtomically } from "../../base/file-io.ts";
import type { Log } from "../../base/log.ts";
import type { Config } from "../../config/contract.ts";
import { JOB_LIMITS } from "../../gateway/jobs/client-jobs.ts";
import { localZone, nextTime } from "../../gateway/jobs/schedule.ts";
import type { JobOwner, JobStore } from "../../store/contract/jobs.ts";
import { type GoJob, goJobsIn, lastClientIn } from "../../store/go/jobs.ts";
import { stateFolderOf } from "../state/state-folder.ts";

export interface GoJobsOptions {
  readonly config: Pick<Config, "agents" | "heartbeat">;
  /** The name of the channel of the Go program's clients; it did not record which of several it was. */
  readonly channel: string | undefined;
  readonly store: JobStore;
  readonly log: Log;
}

/** Bytes of a file of the Go program. */
const MAX_FILE = 16 * 2 ** 20;

/** Takes over `cron/jobs.json` once, which stays as it is, and the heartbeat. Rejects if the store or a file fails. */
export async function takeOverGoJobs(options: GoJobsOptions): Promise<void> {
  await setHeartbeat(options);
  await importJobs(options);
}

async function importJobs({ config, channel, store, log }: GoJobsOptions): Promise<void> {
  const { workspace } = config.agents.defaults;
  const done = join(stateFolderOf(config), "go-jobs-imported");
  const text = await textOf(workspace, "cron/jobs.json");
  if (text === "" || (await isFile(done))) return;
  if (channel === undefined) {
    log.warn("the jobs of the Go program are not taken over: it did not record their channel");
    return;
  }
  const now = Date.now();
  const { jobs, skipped } = goJobsIn(text, { channel, now, zone: localZone() });
  let count = 0;
  for (const job of jobs) if (await addJob(job, store, now)) count += 1;
  await writeAtomically(done, "");
  log.info("took over the jobs of the Go program", {
    jobs: count,
    skipped: skipped + jobs.length - count,
  });
}

async function addJob(
  { isEnabled, nextAt: written, ...job }: GoJob,
  store: JobStore,
  now: number,
): Promise<boolean> {
  const first = await nextTime(job.schedule, now).catch(() => undefined);
  if (first === undefined) return false;
  const added = { ...job, ...(isEnabled && { nextAt: written ?? first }) };
  return (await store.addJob(added, JOB_LIMITS)) !== "full";
}

/** The id of the heartbeat's job. */
const HEARTBEAT = "heartbeat";
const FILE = "HEARTBEAT.md";
const INTERVAL = { usual: 30, least: 5 };

/** The heartbeat is a job of the client that the Go program heard last: what it has to say goes there. */
async function setHeartbeat(options: GoJobsOptions): Promise<void> {
  const { config, store } = options;
  const job = await store.job(HEARTBEAT);
  const owner = config.heartbeat.enabled ? await heartbeatClient(options) : undefined;
  const minutes = Math.max(config.heartbeat.interval || INTERVAL.usual, INTERVAL.least);
  const schedule = { kind: "every", ms: minutes * 60_000 } as const;
  if (job !== undefined && owner !== undefined && isOf(job, owner)) {
    const isSame = job.schedule.kind === "every" && job.schedule.ms === schedule.ms;
    if (!isSame) await store.changeJob({ ...job, schedule });
    return;
  }
  if (job !== undefined) await store.removeJob(HEARTBEAT);
  if (owner === undefined) return;
  const payload = { kind: "file", text: FILE } as const;
  const added = { ...owner, id: HEARTBEAT, name: HEARTBEAT, schedule, payload, nextAt: Date.now() };
  await store.addJob(added, JOB_LIMITS);
}

async function heartbeatClient({
  config,
  channel,
  log,
}: GoJobsOptions): Promise<JobOwner | undefined> {
  const { workspace } = config.agents.defaults;
  const client = lastClientIn(await textOf(workspace, "state/state.json"));
  if (client !== undefined && channel !== undefined) return { channel, client };
  if ((await readTasks(workspace, FILE)) !== undefined) {
    log.warn("the tasks of HEARTBEAT.md are not done: state/state.json names no client of MQTT");
  }
  return undefined;
}

function isOf(job: JobOwner, { channel, client }: JobOwner): boolean {
  return job.channel === channel && job.client === client;
}

const MAX_TASKS = 32 * 1024;
/** In the template of the Go program only what is below this line is a task. */
const TEMPLATE_END = /^Add your heartbeat tasks below this line:\s*$/m;

/** The prompt for the tasks in a file of the workspace; undefined if there are none. */
export async function readTasks(workspace: string, file: string): Promise<string | undefined> {
  const text = await textOf(workspace, file, MAX_TASKS);
  const [, below = text] = text.split(TEMPLATE_END);
  const tasks = withoutComments(below);
  if (tasks === "") return undefined;
  return `It is time to look at the tasks in ${file}. Do what is due of them now. Where they ask for HEARTBEAT_OK, answer NOTHING.\n\n${tasks}`;
}

/** "" if there is no such file. */
async function textOf(workspace: string, name: string, most = MAX_FILE): Promise<string> {
  try {
    return (await readWithin(workspace, join(workspace, name), most)).text;
  } catch (thrown) {
    if (codeOf(thrown) === "ENOENT") return "";
    throw thrown;
  }
}

async function isFile(path: string): Promise<boolean> {
  return readFile(path).then(
    () => true,
    () => false,
  );
}
