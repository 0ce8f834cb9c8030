import { asFailure, Failure } from "../base/failure.ts";
import { dialAddressOf } from "./address.ts";
import { ask, tell } from "./ask.ts";
import { openConnection, randomClientId } from "./connection.ts";
import type { Device, DeviceOptions } from "./contract.ts";
import { ConnectionLost, type Incoming } from "./message.ts";
import { quietLog } from "./quiet-log.ts";
import type { Session } from "./session.ts";
import { watch } from "./watch.ts";

/** What asking and watching need of the connection. */
export interface DeviceLine {
  readonly options: DeviceOptions;
  readonly connection: ReturnType<typeof openConnection>;
  /** Subscribes now and after each reconnect, until the returned function is called. */
  listen(filters: readonly string[], listener: Listener): Promise<() => void>;
}

export interface Listener {
  readonly message: (message: Incoming) => void;
  readonly lost: (failure: Failure) => void;
  readonly restored: () => void;
}

/** Milliseconds between attempts after a loss: somebody waits in front of a screen. */
const RECONNECT_MS = 1_000;
/** Far more than any answer has; what is larger is an attack on our memory. */
const MAXIMUM_PACKET_BYTES = 16_777_216;

/** Connects to the channel's broker as a stranger; throws `unreachable`, `refused` or `config`. */
export async function openDevice(options: DeviceOptions): Promise<Device> {
  const line = openLine(options);
  const session = await firstSession(line, options);
  return {
    protocol: session.protocol,
    ask: (question) => ask(line, question),
    tell: (question) => tell(line, question),
    watch: (what) => watch(line, what),
    close: () => line.connection.close().catch(() => {}),
  };
}

type Line = DeviceLine & { readonly failed: Promise<Failure> };

function openLine(options: DeviceOptions): Line {
  const { channel, connectTimeoutMs, log } = options;
  const { settings } = channel;
  const listeners = new Map<Listener, readonly string[]>();
  const failed = Promise.withResolvers<Failure>();
  let sessions = 0;
  const connection = openConnection({
    address: dialAddressOf(settings),
    settings,
    clientId: randomClientId("picoclaw-cli"),
    connectTimeoutMs,
    reconnectMs: RECONNECT_MS,
    maximumPacketBytes: MAXIMUM_PACKET_BYTES,
    log: quietLog(log),
    onMessage(message) {
      for (const listener of listeners.keys()) listener.message(message);
      return undefined;
    },
    async onSession(session) {
      sessions += 1;
      for (const filters of listeners.values()) await session.subscribe(filters, 1);
      if (sessions > 1) for (const listener of listeners.keys()) listener.restored();
    },
    onLoss(failure) {
      failed.resolve(failure);
      for (const listener of listeners.keys()) listener.lost(failure);
    },
  });
  void connection.ended.then((failure) => {
    if (!failure) return;
    failed.resolve(failure);
    for (const listener of listeners.keys()) listener.lost(failure);
  });
  return {
    options,
    connection,
    failed: failed.promise,
    async listen(filters, listener) {
      const session = await connection.ready(options.signal);
      listeners.set(listener, filters);
      const stop = (): void => void listeners.delete(listener);
      await subscribeNow(session, filters).catch((error: unknown) => {
        stop();
        throw error;
      });
      return stop;
    },
  };
}

/** Subscribes, or leaves it to the next session, which does so for every listener before it is ready. */
async function subscribeNow(session: Session, filters: readonly string[]): Promise<void> {
  try {
    await session.subscribe(filters, 1);
  } catch (error) {
    if (!(error instanceof ConnectionLost)) throw error;
  }
}

async function firstSession({ connection, failed }: Line, options: DeviceOptions) {
  const { broker } = options.channel.settings;
  try {
    const refused = failed.then((failure) => Promise.reject(failure));
    return await Promise.race([connection.ready(options.signal), refused]);
  } catch (error) {
    await connection.close().catch(() => {});
    options.signal.throwIfAborted();
    const { code, message, why, remedy, cause } = asFailure(error);
    const known = code === "refused" || code === "config";
    throw new Failure(known ? code : "unreachable", `no connection to ${broker}: ${message}`, {
      ...(why !== undefined && { why }),
      remedy: remedy ?? "check that the broker runs there, or name another with --broker",
      cause,
    });
  }
}
