import { pause } from "../../base/async.ts";
import type { Diagnosis } from "../../base/contract.ts";
import { asFailure } from "../../base/failure.ts";
import { matchesFilter } from "../../base/topic-filter.ts";
import { listed } from "../../base/truncate.ts";
import type { MqttSettings } from "../../config/contract.ts";
import type { Session } from "../client/session.ts";
import type { Incoming } from "../protocol/message.ts";
import {
  a2aAddressOf,
  a2aReplyTopic,
  a2aReplies,
  a2aTopic,
  mcpAddressOf,
  mcpClientFilters,
  mcpRpcTopic,
  mcpServerTopic,
  type PublishTopic,
} from "../protocol/topics.ts";
import { accessUser } from "../requester/access.ts";
import { type BrokerConnection, withSession } from "../requester/topic-session.ts";

/** The broker of a channel, for what is configured besides requests and answers. */
export interface PartTarget extends BrokerConnection {
  /** Of the channel. */
  readonly name: string;
}

/** Milliseconds for retained messages, and for a message of our own. */
const HEARD_MS = 1_000;
const LOOK_MS = 25;
/** Topics that are named in a line. */
const MOST_NAMED = 5;
/** A client and a requester that do not exist. */
const NOBODY = "picoclaw-doctor";

/** Whether A2A requests can be heard and answered. Publishes an empty message to a requester that does not exist. */
export async function a2aCheck(target: PartTarget): Promise<Diagnosis> {
  const address = a2aAddressOf(target.settings);
  const requests = a2aTopic("request", address);
  const reply = a2aReplyTopic(address, a2aReplies(address, `${NOBODY}/1`));
  return await partCheck(target, { code: "broker.a2a", part: "A2A" }, async (session) => {
    await session.subscribe([requests], 1);
    if (reply !== undefined) await publishEmpty(session, reply.topic);
    return { result: "ok", message: `A2A: the broker lets us hear ${requests}, and answer` };
  });
}

/** Whether MCP clients can be heard and answered. Publishes an empty message to a client that does not exist. */
export async function mcpCheck(target: PartTarget): Promise<Diagnosis> {
  const address = mcpAddressOf(target.settings);
  const { rpc, presence } = mcpClientFilters(address);
  const control = mcpServerTopic("control", address);
  const facts = { code: "broker.mcp", part: "MCP" } as const;
  const found = await partCheck(target, facts, async (session) => {
    await session.subscribe([control, presence], 1, { retained: false });
    await session.subscribe([rpc], 1, { noLocal: true });
    return { result: "ok", message: `MCP: a message came through ${rpc}` };
  });
  if (found.result !== "ok") return found;
  // Only without No Local what is published comes back.
  const own = mcpRpcTopic(address, NOBODY);
  let isHeard = false;
  const take = ({ topic }: Incoming): void => {
    isHeard ||= topic === own;
  };
  const echo = async (session: Session): Promise<Found> => {
    await session.subscribe([rpc], 1);
    if (own !== undefined) await publishEmpty(session, own);
    await untilHeard(() => isHeard, target.signal);
    if (isHeard) return found;
    const message = `MCP: the broker accepts the subscription to ${rpc} and delivers nothing`;
    return { result: "fail", message, remedy: remedyFor(target.settings) };
  };
  return await partCheck(target, facts, echo, take);
}

/** Whether watched topics can be heard, as far as stored messages show it. Publishes nothing. */
export async function watchChecks(
  target: PartTarget,
  topics: readonly string[],
): Promise<readonly Diagnosis[]> {
  const heard = new Set<string>();
  const refused = new Set<string>();
  const take = ({ topic }: Incoming): void => {
    for (const filter of topics) if (matchesFilter(filter, topic)) heard.add(filter);
  };
  await withSession(target, take, async (session) => {
    for (const topic of topics) {
      await session.subscribe([topic], 0, { retained: true }).catch((thrown: unknown) => {
        if (asFailure(thrown).code !== "refused") throw thrown;
        refused.add(topic);
      });
    }
    await untilHeard(() => heard.size + refused.size >= topics.length, target.signal);
  });
  const silent = topics.filter((topic) => !heard.has(topic) && !refused.has(topic));
  const user = accessUser(target.settings);
  const check = (some: Iterable<string>, found: (names: string) => Found): readonly Diagnosis[] => {
    const names = listed([...some], MOST_NAMED);
    return names === "" ? [] : [{ code: "broker.watch", name: target.name, ...found(names) }];
  };
  return [
    ...check(refused, (names) => ({
      result: "fail",
      message: `the broker refuses the subscription to ${names}: ${user} may not read it`,
      remedy: remedyFor(target.settings),
    })),
    ...check(heard, (names) => ({ result: "ok", message: `${names}: a message came` })),
    ...check(silent, (names) => ({
      result: "skip",
      message: `${names}: nothing is stored there that would show whether the broker delivers it`,
    })),
  ];
}

type Found = Pick<Diagnosis, "result" | "message" | "remedy">;

/** Makes the check over a connection with MQTT 5, which the parts use. */
async function partCheck(
  target: PartTarget,
  { code, part }: { readonly code: string; readonly part: string },
  work: (session: Session) => Promise<Found>,
  onMessage?: (message: Incoming) => void,
): Promise<Diagnosis> {
  const { name, settings, signal } = target;
  const connection = { ...target, settings: { ...settings, protocol_version: 5 as const } };
  try {
    return { code, name, ...(await withSession(connection, onMessage, work)) };
  } catch (thrown) {
    signal.throwIfAborted();
    const { message, why } = asFailure(thrown);
    const text = `${part}: ${message}${why === undefined ? "" : ` (${why})`}`;
    return { code, name, result: "fail", message: text, remedy: remedyFor(settings) };
  }
}

async function publishEmpty(session: Session, topic: PublishTopic): Promise<void> {
  const payload = "";
  await session.publish({ topic, payload, qos: 1 });
}

async function untilHeard(isHeard: () => boolean, signal: AbortSignal): Promise<void> {
  const end = performance.now() + HEARD_MS;
  while (!isHeard() && performance.now() < end) await pause(LOOK_MS, signal);
}

function remedyFor(settings: MqttSettings): string {
  return `give ${accessUser(settings)} the rights that picoclaw acl prints`;
}
