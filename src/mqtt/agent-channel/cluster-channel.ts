import { abortable } from "../../base/async.ts";
import { Failure } from "../../base/failure.ts";
import { Connection } from "../client/connection.ts";
import type { Channel, ChannelOptions, ClusterChannelOptions } from "../contract.ts";
import { agentAddressOf, type AgentAddress } from "../protocol/topics.ts";
import {
  connectionOptionsOf,
  createConnectedLog,
  probeFor,
  type Probe,
  taggedLog,
} from "./channel.ts";
import { IntakeConnection } from "./intake-connection.ts";
import { Presence } from "./presence.ts";
import { createReceiver, parseReplyAddress } from "./receive.ts";
import { createReply, replyOptionsOf } from "./reply.ts";

/**
 * A channel that several gateways serve. Each has a connection of its own for answers, its voice. The one that
 * holds the lease of the intake has a second one, under the client id that all of them share: it hears requests,
 * and the status hangs on it.
 */
export function openClusterChannel(options: ClusterChannelOptions): Channel {
  const { channel, intake } = options;
  const log = taggedLog(options.log, channel.name);
  const address = agentAddressOf(channel.settings);
  const replyOptions = replyOptionsOf(options, log);
  const failed = Promise.withResolvers<Failure>();
  const heard = Promise.withResolvers<void>();
  const presence = new Presence(options, address, {
    log,
    sessionsLost: () => hearing.sessionsLost(),
    refuse(failure) {
      failed.resolve(failure);
      hearing.refuse(failure);
    },
  });
  const createProbe = (): Probe => probeFor(options, address, log);
  const voice = openVoice({ ...options, log }, address, createProbe());
  const receive = createReceiver(options, address, replyOptions);
  const hearing: IntakeConnection = new IntakeConnection({
    ...options,
    log,
    address,
    presence,
    createProbe,
    hears: heard.resolve,
    receive: (message) => receive(message, voice.connection),
  });
  if (channel.settings.homeassistant.enabled) void noteDiscovery(options);
  options.onGateways?.(() => presence.refresh());
  intake.start({
    canHear: () => voice.connection.problem() === undefined,
    taken: (...cluster) =>
      void hearing.open(...cluster).then((failure) => failure && failed.resolve(failure)),
    lost: (why) => hearing.cut(why),
    elsewhere: heard.resolve,
  });
  const ended = Promise.race([voice.connection.ended, failed.promise]);
  return {
    name: channel.name,
    problem: () => voice.problem() ?? hearing.problem() ?? intake.problem(),
    canAnswer: () => voice.problem() === undefined,
    ready: async (signal) => {
      await abortable(Promise.race([heard.promise, ended.then(asEnd)]), signal);
      return voice.connection.ready(signal);
    },
    ended,
    replyTo(recipient) {
      const to = parseReplyAddress(address, recipient, channel.settings);
      return to && createReply(voice.connection, to, replyOptions);
    },
    sessionsLost: () => hearing.sessionsLost(),
    messagesDropped: () => hearing.messagesDropped(),
    otherGateways: () => presence.others(),
    handOver: () => hearing.handOver(),
    async close() {
      await hearing.close(voice.connection);
      await voice.connection.close();
    },
  };
}

function asEnd(failure: Failure | undefined): never {
  throw failure ?? new Failure("failed", "the channel was closed");
}

/** A gateway that has never heard may be the first one to hear when the device is switched off: it removes it then. */
async function noteDiscovery({ channel, discoveryNotes: notes }: ChannelOptions): Promise<void> {
  const { discoveryTopic } = await import("../protocol/discovery.ts");
  if (notes?.read() === undefined) notes?.write(discoveryTopic(channel.settings));
}

/** The connection for answers: a client id of its own, a session that ends with it, no requests and no will. */
function openVoice(options: ClusterChannelOptions, address: AgentAddress, probe: Probe) {
  const { log, onProblem } = options;
  const logConnected = createConnectedLog(log);
  const connection = new Connection({
    ...connectionOptionsOf(options),
    log,
    onMessage(message) {
      probe.received(message);
      return undefined;
    },
    onSession(session) {
      logConnected(session);
      probe.watch(session);
      return Promise.resolve();
    },
    ...(onProblem && { onLoss: onProblem }),
  });
  return { connection, problem: () => connection.problem() ?? probe.problem() };
}
