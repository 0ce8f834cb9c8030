import { startDeadline } from "../../base/async.ts";
import { escapeControl, jsonLine } from "../../base/escape-control.ts";
import { Failure } from "../../base/failure.ts";
import type { AgentFacts, Requester } from "../../mqtt/contract.ts";
import { loadChannel } from "../connection.ts";
import { type Context, createCommandLog } from "../context.ts";
import { findAgents } from "../find-agents.ts";
import { listing } from "../terminal/table.ts";

/** `picoclaw agents`: lists the agents that are at the broker, or prints each change. */
export async function run(context: Context): Promise<number> {
  const { host, flags, signal } = context;
  const log = await createCommandLog(context);
  const channel = await loadChannel(context, log);
  const { openRequester } = await import("../../mqtt/requester/requester.ts");
  const connectTimeoutMs = flags.duration("connect-timeout");
  const requester = await openRequester({ channel, connectTimeoutMs, log, signal });
  try {
    if (flags.has("watch")) await watchAgents(requester, context);
    else {
      const agents = await findAgents(requester, { quietMs: flags.limit("for"), signal });
      if (agents.length === 0) await host.stderr.write(`note: ${NOBODY}\n`);
      await host.stdout.write(listOf(agents, context));
    }
  } finally {
    await requester.close();
  }
  return 0;
}

const NOBODY =
  "there is no agent under this prefix, or an access list hides it: it must allow to read +/status and +/info there";

/** Prints an agent when something of it is known, and again when that changes. */
async function watchAgents(
  requester: Pick<Requester, "agents">,
  { host, flags, signal }: Context,
): Promise<void> {
  const deadline = startDeadline(flags.limit("for") ?? Number.POSITIVE_INFINITY, {
    parent: signal,
  });
  try {
    for await (const facts of requester.agents({ signal: deadline.signal })) {
      await host.stdout.write(flags.has("json") ? jsonOf(facts) : `${rowOf(facts).join("\t")}\n`);
    }
  } catch (thrown) {
    const isInterrupted = signal.reason instanceof Failure && signal.reason.code === "interrupted";
    if (!deadline.isOver() && !isInterrupted) throw thrown;
  } finally {
    deadline.close();
  }
}

function listOf(agents: readonly AgentFacts[], { host, flags }: Context): string {
  if (flags.has("json")) return agents.map(jsonOf).join("");
  const rows = agents.map(rowOf);
  return rows.length > 0 ? listing(host.stdout, HEAD, rows) : "";
}

const HEAD = ["agent", "status", "version", "since", "host", "gateways", "others"];

function rowOf({ agent, online, info }: AgentFacts): readonly string[] {
  const status = online === undefined ? "unknown" : online ? "online" : "offline";
  const gateways = info === undefined ? "" : String(info.gateways?.length ?? 1);
  const others = info === undefined ? "" : String(info.others.length);
  const cells = [agent, status, info?.version, info?.since, info?.host, gateways, others];
  return cells.map((cell = "") => escapeControl(cell));
}

function jsonOf({ agent, online, info }: AgentFacts): string {
  return jsonLine({ v: 1, type: "agent", agent, online, ...info });
}
