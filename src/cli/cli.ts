import { asFailure, Failure } from "../base/failure.ts";
import type { Host, StopSignal } from "../base/host.ts";
import { createRedactor, type Redactor } from "../base/redaction/redactor.ts";
import type { Command, CommandName } from "./args/command.ts";
import { findCommand } from "./args/commands.ts";
import { type CommandLine, parseCommandLine } from "./args/parse.ts";
import type { Context, Run } from "./context.ts";
import { exitCodeOf } from "./exit-codes.ts";
import { createPaint, isColoured } from "./terminal/colour.ts";

/** The module of each command, loaded only when that command runs. */
const LOADERS: Readonly<Record<CommandName, () => Promise<{ readonly run: Run }>>> = {
  onboard: () => import("./commands/onboard.ts"),
  try: () => import("./commands/try.ts"),
  gateway: () => import("./commands/gateway.ts"),
  send: () => import("./commands/send.ts"),
  listen: () => import("./commands/listen.ts"),
  agent: () => import("./commands/agent.ts"),
  agents: () => import("./commands/agents.ts"),
  doctor: () => import("./commands/doctor.ts"),
  status: () => import("./commands/status.ts"),
  mcp: () => import("./commands/mcp.ts"),
  sessions: () => import("./commands/sessions.ts"),
  jobs: () => import("./commands/jobs.ts"),
  config: () => import("./commands/config.ts"),
  service: () => import("./commands/service.ts"),
  logs: () => import("./commands/logs.ts"),
  store: () => import("./commands/store.ts"),
  acl: () => import("./commands/acl.ts"),
  completion: () => import("./commands/completion.ts"),
  version: () => import("./commands/version.ts"),
  help: () => import("./commands/help.ts"),
};

/** Runs one command line and resolves with its exit code. Does not reject. */
export async function runCommandLine(host: Host): Promise<number> {
  const line = parseCommandLine(host.args);
  const redactor = createRedactor([host.env["PICOCLAW_KEY_PASSPHRASE"] ?? ""]);
  const call: Call = { host, line, redactor };
  reportCrashes(call);
  const stop = listenForSignals(host);
  try {
    const code = await dispatch(call, stop);
    return host.stdout.closed.aborted ? await endWithoutOutput(call) : code;
  } catch (thrown) {
    if (host.stdout.closed.aborted) return await endWithoutOutput(call);
    const failure = failureOf(thrown, stop.signal);
    await report(call, failure);
    return exitCodeOf(failure);
  } finally {
    stop.release();
  }
}

/** A reader that leaves early (`| head -1`) is not a failure; a full disk is one. */
async function endWithoutOutput(call: Call): Promise<number> {
  const { reason } = call.host.stdout.closed;
  if (!(reason instanceof Failure)) return 0;
  await report(call, reason);
  return exitCodeOf(reason);
}

interface Call {
  readonly host: Host;
  readonly line: CommandLine;
  readonly redactor: Redactor;
}

/** How long a stuck reader may keep a crashed process alive. */
const LAST_WORDS_MS = 1000;

/**
 * An uncaught error ends the process with one report like any failure. The report of the runtime itself
 * could contain secrets.
 */
function reportCrashes(call: Call): void {
  const { host } = call;
  let isEnding = false;
  host.onCrash((thrown) => {
    if (isEnding) return;
    isEnding = true;
    const failure = asFailure(thrown);
    const end = (): never => host.exitNow(exitCodeOf(failure));
    setTimeout(end, LAST_WORDS_MS);
    void Promise.all([report(call, failure), host.stdout.write("")]).then(end, end);
  });
}

async function dispatch({ host, line, redactor }: Call, stop: SignalListener): Promise<number> {
  const { command, words, flags, failure } = line;
  const wantsHelp = flags.has("help") || (command === undefined && host.args.length === 0);
  if (wantsHelp && (command !== undefined || words.length === 0)) return showHelp(host, line);
  if (failure !== undefined) {
    await printFailedResult({ host, line, redactor }, failure);
    throw failure;
  }
  const named = command ?? (flags.has("version") ? findCommand("version") : undefined);
  if (named === undefined) {
    throw new Failure("usage", "no command was given", { remedy: "picoclaw help" });
  }
  const { run } = await LOADERS[named.name]();
  const { signal, onNextInterrupt } = stop;
  return run({ host, words, flags, signal, onNextInterrupt, redactor });
}

/** After a signal, an error that is not a `Failure` is a consequence of the abort. */
function failureOf(thrown: unknown, signal: AbortSignal): Failure {
  return asFailure(signal.aborted && !(thrown instanceof Failure) ? signal.reason : thrown);
}

async function showHelp(host: Host, { command, flags }: CommandLine): Promise<number> {
  const { commandHelp, programHelp } = await import("./commands/help.ts");
  const paint = createPaint(isColoured(host.stdout, host.env, flags));
  const options = { paint, columns: host.stdout.columns };
  await host.stdout.write(
    command === undefined ? programHelp(options) : commandHelp(command, options),
  );
  return 0;
}

/** Prints the result line of a command that always has one, even if it did not start. */
async function printFailedResult({ host, line, redactor }: Call, failure: Failure): Promise<void> {
  if (!line.command?.endsWithResult || !line.flags.has("json")) return;
  const { failedResult, resultLine } = await import("./report.ts");
  await host.stdout.write(resultLine(failedResult(failure), redactor));
}

async function report({ host, line, redactor }: Call, failure: Failure): Promise<void> {
  // The user who pressed Ctrl-C knows what happened.
  if (failure.code === "interrupted" || failure.code === "terminated") return;
  const { flags, command } = line;
  const coloured = isColoured(host.stderr, host.env, flags);
  const reported = withHelpRemedy(failure, command);
  const { reportOf, wrapFor } = await import("./report.ts");
  const wrap = await wrapFor(host.stderr);
  const options = { coloured, debug: flags.has("debug"), redactor, wrap };
  await host.stderr.write(reportOf(reported, options));
}

/** Wrong usage always has a remedy: the help of the command. */
function withHelpRemedy(failure: Failure, command: Command | undefined): Failure {
  const { code, message, why, remedy } = failure;
  if (code !== "usage" || remedy !== undefined || command === undefined) return failure;
  return new Failure(code, message, {
    why,
    remedy: `picoclaw help ${command.name}`,
    cause: failure.cause,
  });
}

interface SignalListener {
  /** Aborted by the first SIGINT or SIGTERM with its `Failure`, and when nothing more can be written to stdout. */
  readonly signal: AbortSignal;
  readonly onNextInterrupt: Context["onNextInterrupt"];
  /** Stops listening for signals. */
  release(): void;
}

/** Turns signals into an abort: after the first the command may finish its work, the second ends at once. */
export function listenForSignals(
  host: Pick<Host, "onSignal" | "exitNow" | "stdout">,
): SignalListener {
  const controller = new AbortController();
  let signalled = false;
  let takesNext: (() => void) | undefined;
  const release = host.onSignal((name) => {
    const take = name === "SIGINT" ? takesNext : undefined;
    takesNext = undefined;
    if (take !== undefined) return take();
    const failure = failureOfSignal(name);
    if (signalled) host.exitNow(exitCodeOf(failure));
    signalled = true;
    controller.abort(failure);
  });
  const { closed } = host.stdout;
  const gone = (): void =>
    controller.abort(
      closed.reason instanceof Failure
        ? closed.reason
        : new Failure("interrupted", "nobody reads the output"),
    );
  closed.addEventListener("abort", gone);
  return {
    signal: controller.signal,
    onNextInterrupt(run) {
      takesNext = run;
      return () => {
        if (takesNext === run) takesNext = undefined;
      };
    },
    release() {
      release();
      closed.removeEventListener("abort", gone);
    },
  };
}

function failureOfSignal(signal: StopSignal): Failure {
  return signal === "SIGINT"
    ? new Failure("interrupted", "interrupted")
    : new Failure("terminated", "terminated");
}
