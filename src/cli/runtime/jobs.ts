import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Agent } from "../../agent/agent.ts";
import type { Message } from "../../agent/contract.ts";
import type { Jobs } from "../../agent/tools/cron.ts";
import { Lazy } from "../../base/async.ts";
import { asFailure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import type { Config, MqttChannel } from "../../config/contract.ts";
import type { JobScheduler, JobSchedulerOptions } from "../../gateway/jobs/scheduler.ts";
import type { JobSummary } from "../../store/contract/jobs.ts";
import type { Store } from "../../store/contract/store.ts";
import { expiringHere, sharedClockOf } from "./shared-clock.ts";

export interface RuntimeJobsOptions {
  readonly config: Pick<Config, "agents" | "heartbeat">;
  readonly channels: readonly Pick<MqttChannel, "name">[];
  readonly store: Store<Message>;
  /** Other gateways share the store, and add jobs to it. */
  readonly isShared: boolean;
  readonly log: Log;
}

/** What a job needs to be done. */
export interface JobRunner {
  readonly push: JobSchedulerOptions["push"];
  readonly runCommand: Agent["runCommand"];
}

/** Milliseconds between two looks for the first job, which another gateway may add; after a failure, the second. */
const LOOK_MS = 60_000;
const LOOK_AGAIN_MS = 5_000;

/** The jobs of a gateway. Their code is loaded when there is one, or when a client asks for them. */
export class RuntimeJobs {
  /** For the agent. */
  readonly jobs: Jobs;
  readonly #options: RuntimeJobsOptions;
  /** With gateways on several machines jobs are due by the clock of the store. */
  readonly #clock = new Lazy(() => sharedClockOf(this.#options.store));
  #scheduler: Lazy<JobScheduler> | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isClosed = false;

  constructor(options: RuntimeJobsOptions) {
    this.#options = options;
    const clients = new Lazy(async () => {
      const { ClientJobs } = await import("../../gateway/jobs/client-jobs.ts");
      const { store } = options;
      const clock = await this.#clock.load();
      return new ClientJobs({ store: () => store.jobs(), clock, changed: this.#wake });
    });
    this.jobs = {
      list: async (owner) => (await clients.load()).list(owner),
      get: async (owner, id) => (await clients.load()).get(owner, id),
      add: async (owner, draft) => (await clients.load()).add(owner, draft),
      update: async (owner, id, changes) => (await clients.load()).update(owner, id, changes),
      enable: async (owner, id, wanted) => (await clients.load()).enable(owner, id, wanted),
      remove: async (owner, id) => (await clients.load()).remove(owner, id),
    };
  }

  /** Takes over the jobs of a Go home, and does what is due from now on. Does not reject: failures are logged. */
  async start(runner: JobRunner): Promise<void> {
    if (this.#isClosed) return;
    this.#scheduler = new Lazy(() => this.#loadScheduler(runner));
    await this.#takeOver().catch((thrown: unknown) => {
      this.#warn("the jobs of the Go program are not taken over", thrown);
    });
    await this.#look();
  }

  /** How many there are, and when the next one is due; undefined without any. */
  async summary(): Promise<JobSummary | undefined> {
    const { store } = this.#options;
    if (!(await store.hasJobs())) return undefined;
    const clock = await this.#clock.load();
    return (await store.jobs()).jobSummary(clock.epoch());
  }

  /** Fires nothing more. Does not reject. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    const scheduler = await this.#scheduler?.loading?.catch(() => undefined);
    await scheduler?.close();
  }

  /** Starts the scheduler if there is a job. */
  async #look(): Promise<void> {
    const { store, isShared, log } = this.#options;
    try {
      if (await store.hasJobs()) this.#wake();
      else if (isShared) this.#lookIn(LOOK_MS);
    } catch (thrown) {
      log.debug("jobs cannot be read", { why: asFailure(thrown).why });
      this.#lookIn(LOOK_AGAIN_MS);
    }
  }

  readonly #wake = (): void => {
    if (this.#isClosed || this.#scheduler === undefined) return;
    clearTimeout(this.#timer);
    this.#scheduler.load().then(
      (scheduler) => scheduler.wake(),
      (thrown: unknown) => {
        this.#warn("jobs cannot be done yet", thrown);
        this.#lookIn(LOOK_AGAIN_MS);
      },
    );
  };

  #lookIn(milliseconds: number): void {
    clearTimeout(this.#timer);
    if (!this.#isClosed) this.#timer = setTimeout(() => void this.#look(), milliseconds);
  }

  async #loadScheduler({ push, runCommand }: JobRunner): Promise<JobScheduler> {
    const { store, config, log } = this.#options;
    const { JobScheduler: Scheduler } = await import("../../gateway/jobs/scheduler.ts");
    const clock = await this.#clock.load();
    return new Scheduler({
      store: await store.jobs(),
      clock,
      log,
      push: (wanted) => push(expiringHere(wanted, clock)),
      runCommand: ({ channel, client, payload }, signal) => {
        const isConfirmed = payload.kind === "command" && payload.isConfirmed;
        const command = payload.text;
        return runCommand({ channel, client, isRemote: true, command, isConfirmed, signal });
      },
      async readTasks(file) {
        const { readTasks } = await import("./go-jobs.ts");
        return readTasks(config.agents.defaults.workspace, file);
      },
    });
  }

  async #takeOver(): Promise<void> {
    const { config, channels, store, log } = this.#options;
    const { workspace } = config.agents.defaults;
    if (!GO_FILES.some((name) => existsSync(join(workspace, name)))) return;
    const { takeOverGoJobs } = await import("./go-jobs.ts");
    const channel = channels.length === 1 ? channels[0]?.name : undefined;
    await takeOverGoJobs({ config, channel, store: await store.jobs(), log });
  }

  #warn(message: string, thrown: unknown): void {
    const { message: error, why } = asFailure(thrown);
    this.#options.log.warn(message, { error, why });
  }
}

/** What a workspace of the Go program may have. */
const GO_FILES = ["cron/jobs.json", "state/state.json"];
