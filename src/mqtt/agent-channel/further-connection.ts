import { pause } from "../../base/async.ts";
import { asFailure, type Failure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import { Connection, type ConnectionOptions } from "../client/connection.ts";
import { GRANT_RIGHTS } from "../client/reasons.ts";
import type { Session } from "../client/session.ts";
import type { ChannelOptions, ClusterChannelOptions } from "../contract.ts";
import { ConnectionLost, type Outgoing } from "../protocol/message.ts";
import { connectionOptionsOf, isLastGateway } from "./channel.ts";
import { LeasedMessages } from "./leased-messages.ts";

/** Options of a channel, which may be one of a gateway that shares its store with others. */
export type SharedChannelOptions = ChannelOptions &
  Partial<Pick<ClusterChannelOptions, "intake" | "isAlone">>;

export interface FurtherConnectionOptions
  extends
    Pick<ConnectionOptions, "clientId" | "log" | "onMessage" | "onSession">,
    Partial<Pick<ConnectionOptions, "sessionExpiry" | "userProperties">> {
  readonly channel: SharedChannelOptions;
  readonly will: NonNullable<ConnectionOptions["will"]>;
  /** Tells that nobody serves any more. */
  readonly sayOffline: (session: Session) => Promise<void>;
  /** Called when this gateway does not hear any more. */
  readonly onEnd?: () => void;
  /** Called with what ended the connection for good. */
  readonly onFailure: (failure: Failure) => void;
}

/** MQTT 5 at QoS 1, whatever the channel has. */
export function furtherOptionsOf(options: ChannelOptions) {
  return {
    ...connectionOptionsOf(options),
    // That would be noted of the client id of the channel.
    onConflict: undefined,
    settings: { ...options.channel.settings, protocol_version: 5, qos: 1 },
  } as const;
}

/**
 * Publishes what others find this agent by; warns if the broker refuses it. Never rejects; false after a loss: the next
 * session does it again.
 */
export async function publishOrWarn(
  session: Pick<Session, "publish">,
  message: Outgoing,
  log: Log,
  warning: string,
): Promise<boolean> {
  try {
    await session.publish(message);
  } catch (error) {
    if (error instanceof ConnectionLost) return false;
    const { message: refusal, why } = asFailure(error);
    log.warn(warning, { error: refusal, why, try: GRANT_RIGHTS });
  }
  return true;
}

/**
 * The connection of another protocol, under a client id of that protocol, next to the channel's. Of the gateways
 * that share a store, the one that holds the lease of the channel's intake has it: there it is opened, and cut, with
 * the lease.
 */
export class FurtherConnection {
  readonly #options: FurtherConnectionOptions;
  #current: Connection | undefined;
  readonly #messages: LeasedMessages;

  constructor(options: FurtherConnectionOptions) {
    this.#options = options;
    const { intake } = options.channel;
    this.#messages = new LeasedMessages(() => intake?.isHeld() ?? true, options.onMessage);
    if (intake === undefined) this.#connect();
    else intake.follow({ taken: () => this.#connect(), lost: (why) => this.#cut(why) });
  }

  /** The connection; undefined while another gateway has it. */
  get current(): Connection | undefined {
    return this.#current;
  }

  /** Another gateway may have it at once. The last gateway has it until it is closed. */
  async handOver(): Promise<void> {
    if (!(await isLastGateway(this.#options.channel.isAlone))) await this.#stop(false);
  }

  /** Ends it, within two seconds. Returns whether nobody serves any more and that could not be said here. */
  async close(): Promise<boolean> {
    const isLast = await isLastGateway(this.#options.channel.isAlone);
    const isSaid = this.#current?.session() !== undefined;
    await this.#stop(isLast);
    return isLast && !isSaid;
  }

  #connect(): void {
    if (this.#messages.isStopping) return;
    const { channel, onFailure, onMessage: _, ...own } = this.#options;
    const { intake } = channel;
    const connection = new Connection({
      ...furtherOptionsOf(channel),
      ...own,
      ...(intake && {
        sharesClientId: true,
        mayAcknowledge: () => intake.isHeld(),
        pause: async (milliseconds: number, signal: AbortSignal) => {
          await (channel.pause ?? pause)(milliseconds, signal);
          await intake.confirmed(signal);
        },
      }),
      onMessage: (message) => this.#messages.take(message),
    });
    this.#current = connection;
    void connection.ended.then((failure) => failure && onFailure(failure));
  }

  #cut(why: string): void {
    // It is closed in order, and takes nothing more.
    if (this.#messages.isStopping) return;
    const connection = this.#current;
    this.#current = undefined;
    this.#messages.forget();
    connection?.abort(`the lease of the intake is lost: ${why}`);
    this.#options.onEnd?.();
  }

  async #stop(saysOffline: boolean): Promise<void> {
    const { channel, sayOffline, onEnd } = this.#options;
    this.#messages.stop();
    if (channel.intake) await this.#messages.stored();
    onEnd?.();
    await this.#current?.close(saysOffline ? sayOffline : undefined, { keepsWill: !saysOffline });
  }
}
