import { pause, settlesWithin } from "../../base/async.ts";
import type { Failure } from "../../base/failure.ts";
import { Connection, type ConnectionOptions } from "../client/connection.ts";
import type { Session } from "../client/session.ts";
import type { ChannelOptions, ClusterChannelOptions } from "../contract.ts";
import type { Incoming } from "../protocol/message.ts";
import { connectionOptionsOf, isLastGateway } from "./channel.ts";

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

/** When the gateway stops: for what is being stored. */
const STORED_MS = 1_500;

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
 * The connection of another protocol, under a client id of that protocol, beside the channel's. Of the gateways that
 * share a store, the one that holds the lease of the channel's intake has it: there it is opened, and cut, with the
 * lease, and what comes without the lease is neither handed over nor acknowledged.
 */
export class FurtherConnection {
  readonly #options: FurtherConnectionOptions;
  #current: Connection | undefined;
  #isStopping = false;
  /** Messages that are not dealt with yet. */
  readonly #open = new Set<Promise<void>>();

  constructor(options: FurtherConnectionOptions) {
    this.#options = options;
    const { intake } = options.channel;
    if (intake === undefined) this.#connect();
    else intake.follow({ taken: () => this.#connect(), lost: (why) => this.#cut(why) });
  }

  /** The connection; undefined while another gateway has it. */
  get current(): Connection | undefined {
    return this.#current;
  }

  /** Another gateway may have it at once. If there is none, it stays until it is closed. */
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
    if (this.#isStopping) return;
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
      onMessage: (message) => this.#take(message),
    });
    this.#current = connection;
    void connection.ended.then((failure) => failure && onFailure(failure));
  }

  #take(message: Incoming): Promise<void> | undefined {
    const { channel, onMessage } = this.#options;
    // What is not acknowledged comes to the next holder.
    if (channel.intake?.isHeld() === false) return undefined;
    if (this.#isStopping) return new Promise(() => {});
    const done = onMessage(message);
    if (done === undefined) return undefined;
    this.#open.add(done);
    void done.finally(() => this.#open.delete(done));
    return done;
  }

  #cut(why: string): void {
    // It is closed in order, and takes nothing more.
    if (this.#isStopping) return;
    const connection = this.#current;
    this.#current = undefined;
    // What it has taken is never acknowledged.
    this.#open.clear();
    connection?.abort(`the lease of the intake is lost: ${why}`);
    this.#options.onEnd?.();
  }

  async #stop(saysOffline: boolean): Promise<void> {
    const { channel, sayOffline, onEnd } = this.#options;
    this.#isStopping = true;
    if (channel.intake) await settlesWithin(Promise.all(this.#open), STORED_MS);
    onEnd?.();
    await this.#current?.close(saysOffline ? sayOffline : undefined, { keepsWill: !saysOffline });
  }
}
