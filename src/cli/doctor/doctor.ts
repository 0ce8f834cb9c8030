import { TimeoutError, withTimeout } from "../../base/async.ts";
import type { Diagnosis } from "../../base/contract.ts";
import { asFailure, Failure } from "../../base/failure.ts";
import { type Log, SILENT } from "../../base/log.ts";
import type { LoadedConfig } from "../../config/contract.ts";
import { configChecks, unreadConfig } from "../checks/config.ts";
import { programChecks } from "../checks/program.ts";
import { configFlagsOf, healthPlace, load, secretFilesOf, withConfigFile } from "../connection.ts";
import { createCommandLog, type Context } from "../context.ts";
import { userUnitFolder } from "../service/unit.ts";
import { userName } from "../service/user-name.ts";
import { type Group, type Subject, groupsOf } from "./groups.ts";

/** Milliseconds of one group. All run at the same time. */
const GROUP_MS = 9_500;
/** Shorter than that of a gateway, which may wait. A broker that says nothing takes it twice, once for each MQTT version. */
const CONNECT_MS = 2_500;

/** Everything that was checked, and what was read of the configuration. */
export interface Examination {
  readonly found: readonly Diagnosis[];
  readonly loaded: LoadedConfig | undefined;
}

/**
 * Checks everything that a gateway needs. Each result is handed over as soon as it and those before it are there;
 * a check that fails, or takes too long, holds up no other. Rejects only with the signal's reason.
 */
export async function examine(
  context: Context,
  onFound: (found: Diagnosis) => Promise<void>,
): Promise<Examination> {
  const { flags, host, signal } = context;
  const log = flags.has("debug") ? await createCommandLog(context) : SILENT;
  const read = await load(withConfigFile(context), configFlagsOf(flags));
  // Wrong flags are no fault of this machine.
  if (read instanceof Failure && read.code === "usage") throw read;
  const program: Group = { code: "program", name: "program", run: () => programChecks(host) };
  const config: Group = {
    code: "config",
    name: "configuration",
    run: async () => (read instanceof Failure ? unreadConfig(read) : configChecks(read)),
  };
  const loaded = read instanceof Failure ? undefined : read;
  const subject = loaded && subjectOf(loaded, context, log);
  const groups = [program, config, ...(subject === undefined ? [] : groupsOf(subject))];
  const outcomes = groups.map((group) => outcomeOf(group, signal));
  const found: Diagnosis[] = [];
  for (const outcome of outcomes) {
    for (const one of await outcome) {
      if (found.some((other) => isSame(one, other))) continue;
      found.push(one);
      await onFound(one);
    }
  }
  signal.throwIfAborted();
  return { found, loaded };
}

/** What every channel finds about the home is one finding. */
function isSame(one: Diagnosis, other: Diagnosis): boolean {
  const { code, name, message } = one;
  return code === other.code && name === other.name && message === other.message;
}

function subjectOf(loaded: LoadedConfig, context: Context, log: Log): Subject {
  const { flags, host, redactor, signal } = context;
  return {
    config: loaded.config,
    home: loaded.home,
    configFile: loaded.file,
    secretFiles: secretFilesOf(loaded, context),
    http: healthPlace(loaded, flags),
    connectTimeoutMs: flags.duration("connect-timeout", CONNECT_MS),
    asksModel: !flags.has("offline"),
    measuresQueue: flags.has("queue"),
    unitFolder: userUnitFolder(host),
    user: userName(),
    log,
    redactor,
    signal,
  };
}

async function outcomeOf(
  { code, name, run }: Group,
  signal: AbortSignal,
): Promise<readonly Diagnosis[]> {
  try {
    return await withTimeout(GROUP_MS, signal, run);
  } catch (thrown) {
    // The caller throws the signal's reason.
    if (signal.aborted) return [];
    if (thrown instanceof TimeoutError) {
      const message = `the check was not done within ${GROUP_MS / 1000} s`;
      return [{ code, name, result: "fail", message }];
    }
    const failure = asFailure(thrown);
    const { message, why, remedy } = failure;
    const fixes = remedy === undefined ? {} : { remedy };
    const text = why === undefined ? message : `${message}: ${why}`;
    return [{ code, name, result: "fail", message: text, ...fixes, failure }];
  }
}
