import { Failure } from "../../../base/failure.ts";
import type { Log } from "../../../base/log.ts";
import type { Config } from "../../../config/contract.ts";
import type { Caller } from "../../access/permissions.ts";
import { logToolCall, verdictOnCall } from "../audit.ts";
import type { CallContext } from "../contract.ts";
import { callContextOf, runTool } from "../run.ts";
import type { RunOptions } from "../run.ts";

/** A command that a job runs for its client. */
export interface ScheduledCommand extends Caller, Pick<CallContext, "signal"> {
  readonly command: string;
  /** A person has allowed it. */
  readonly isConfirmed?: boolean | undefined;
}

/**
 * Runs a command as the tool `exec` does when the client's model calls it. Returns its output; undefined if it
 * succeeded and has none. Rejects with a `Failure` (`forbidden`) if the client may not run commands now.
 */
export type RunCommand = (scheduled: ScheduledCommand) => Promise<string | undefined>;

interface CommandDeps extends Pick<RunOptions, "tools" | "permissions" | "hooks"> {
  readonly config: Pick<Config, "tools">;
  readonly log: Log;
}

export async function runScheduledCommand(
  { command, isConfirmed = false, signal, ...caller }: ScheduledCommand,
  deps: CommandDeps,
): Promise<string | undefined> {
  const { tools, permissions, hooks, config, log } = deps;
  const { allow_command, exec_timeout_minutes } = config.tools.cron;
  if (!allow_command || !tools.some(({ name }) => name === "exec")) {
    throw new Failure("forbidden", "this client may not run commands by schedule");
  }
  if (!isConfirmed && permissions.confirm !== undefined) {
    const { commandWaits } = await import("../../access/confirmations.ts");
    if (commandWaits(permissions)) throw unconfirmed(permissions.confirm.by);
  }
  const timeout = exec_timeout_minutes === 0 ? {} : { timeout: exec_timeout_minutes * 60 };
  const call = { id: "job", name: "exec", arguments: JSON.stringify({ command, ...timeout }) };
  const startedAt = performance.now();
  let isRefused = false;
  const onRefusal = (): void => {
    isRefused = true;
  };
  const context = callContextOf({ ...caller, signal }, permissions);
  const text = await runTool(call, { ...context, tools, hooks, onRefusal, isConfirmed: true });
  const verdict = verdictOnCall(call.name, { text, isRefused }, { tools, permissions });
  const ms = performance.now() - startedAt;
  logToolCall(log, caller, { tool: call.name, verdict, ms, text });
  return text === NOTHING ? undefined : text;
}

function unconfirmed(by: readonly string[]): Failure {
  const who = by.join(" or ");
  return new Failure("forbidden", `${who} must confirm this command: enable the job again to ask`);
}

/** What `exec` returns of a command that succeeds in silence. */
const NOTHING = "(no output)\n[exit code 0]";
