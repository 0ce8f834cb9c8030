import { Failure } from "../../base/failure.ts";
import type { Config } from "../../config/contract.ts";
import type { Job, JobStore } from "../../store/contract/jobs.ts";
import { databaseFilesIn } from "../../store/home/instance-files.ts";
import { openJobs } from "../../store/sqlite/shared-access.ts";
import { storeOptions } from "./conversations.ts";
import { stateFolderOf } from "./state-folder.ts";

/** The jobs in all databases of a home, or in the one that gateways share. */
export interface StoredJobs {
  readonly jobs: () => Promise<readonly Job[]>;
  /** Deletes one that was read. */
  readonly remove: (job: Job) => Promise<void>;
  /** Writes one that was read and changed. Rejects if it was changed meanwhile. */
  readonly change: (job: Job) => Promise<void>;
  readonly close: () => Promise<void>;
}

/** Locks nothing; read-only, it also changes nothing. Throws a `Failure`. */
export async function openStoredJobs(
  config: Config,
  { readOnly }: { readonly readOnly: boolean },
): Promise<StoredJobs> {
  const opened: { readonly store: JobStore; readonly close: () => Promise<void> }[] = [];
  const close = async (): Promise<void> => {
    await Promise.all(opened.map((one) => one.close()));
  };
  const { store: shared } = config.gateway;
  try {
    if (shared !== undefined) {
      const { openSharedJobs } = await import("./shared-state.ts");
      opened.push(await openSharedJobs(shared, config));
    }
    for (const file of shared === undefined ? databaseFilesIn(stateFolderOf(config)) : []) {
      const { close: closeStore, ...store } = await openJobs(file, {
        ...storeOptions(config),
        readOnly,
      });
      opened.push({ store, close: closeStore });
    }
  } catch (thrown) {
    await close();
    throw thrown;
  }
  const inAny = async (work: (store: JobStore) => Promise<boolean>, job: Job): Promise<void> => {
    for (const { store } of opened) if (await work(store)) return;
    throw new Failure("failed", `the job ${job.id} was changed meanwhile: try again`);
  };
  return {
    jobs: async () => (await Promise.all(opened.map(({ store }) => store.jobs()))).flat(),
    remove: (job) => inAny((store) => store.removeJob(job.id), job),
    change: (job) => inAny((store) => store.changeJob(job), job),
    close,
  };
}
