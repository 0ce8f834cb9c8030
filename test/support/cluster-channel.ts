import type { MqttSettings } from "../../src/config/contract.ts";
import { openClusterChannel } from "../../src/mqtt/agent-channel/cluster-channel.ts";
import type {
  ChannelRequest,
  DiscoveryNotes,
  IntakeLease,
  IntakeListener,
} from "../../src/mqtt/contract.ts";
import { channelFor, requestAt } from "./channel.ts";
import { createMemoryLog } from "./memory-log.ts";
import { until } from "./until.ts";

/** A lease that the test grants and takes away. */
class ManualLease implements IntakeLease {
  held = false;
  /** Whether a renewal that is asked for succeeds; while undefined it is not answered. */
  renews: boolean | undefined = true;
  /** Milliseconds for which it was given back, each time. */
  readonly givenBack: number[] = [];
  isClosed = false;
  #listener: IntakeListener | undefined;
  readonly #followers: Omit<IntakeListener, "canHear">[] = [];

  start(listener: IntakeListener): void {
    this.#listener = listener;
  }

  follow(listener: Omit<IntakeListener, "canHear">): void {
    this.#followers.push(listener);
  }

  isHeld(): boolean {
    return this.held;
  }

  problem(): undefined {
    return undefined;
  }

  /** Resolves as soon as the channel could hear. */
  async grant(identity = "0a1b2c3d", wasOthers = false): Promise<void> {
    await until("the channel could hear", () => this.canHear());
    this.held = true;
    for (const each of [this.#listener, ...this.#followers]) each?.taken(identity, wasOthers);
  }

  canHear(): boolean {
    return this.#listener?.canHear() === true;
  }

  /** Another gateway has it. */
  give(): void {
    this.#listener?.elsewhere();
  }

  /** Takes it away, and tells the channel. */
  revoke(): void {
    this.held = false;
    for (const each of [this.#listener, ...this.#followers]) each?.lost("the test takes it");
  }

  async confirmed(signal: AbortSignal): Promise<void> {
    if (this.renews === undefined) {
      await new Promise((_, reject) =>
        signal.addEventListener("abort", () => reject(signal.reason)),
      );
    }
    if (this.renews === false) {
      this.revoke();
      throw new Error("the lease is lost");
    }
  }

  giveBack(milliseconds: number): Promise<void> {
    this.givenBack.push(milliseconds);
    this.revoke();
    return Promise.resolve();
  }

  close(): Promise<void> {
    this.held = false;
    this.isClosed = true;
    return Promise.resolve();
  }
}

export interface ClusterChannelTestOptions {
  readonly settings?: Partial<MqttSettings>;
  readonly name?: string;
  readonly reconnectMs?: number;
  readonly discoveryNotes?: DiscoveryNotes;
  readonly isAlone?: () => boolean;
  readonly onRequest?: (request: ChannelRequest) => Promise<void>;
}

/** A channel of one gateway of several, with a lease that the test grants. */
export function openTestClusterChannel(
  broker: string | readonly string[],
  options: ClusterChannelTestOptions = {},
) {
  const lease = new ManualLease();
  const requests: ChannelRequest[] = [];
  const log = createMemoryLog();
  const { settings, name = "mqtt", isAlone = () => false, onRequest, ...rest } = options;
  const channel = openClusterChannel({
    connectTimeoutMs: 5_000,
    info: { version: "0.0.0-test", instance: "here" },
    ...rest,
    channel: { ...channelFor(broker, settings), name },
    intake: lease,
    isAlone: () => Promise.resolve(isAlone()),
    log,
    onRequest(request) {
      requests.push(request);
      return onRequest?.(request) ?? Promise.resolve();
    },
  });
  return {
    channel,
    lease,
    requests,
    log,
    /** Grants the lease and resolves when it hears. */
    async hear(identity?: string, wasOthers?: boolean) {
      const before = times(log.text());
      await lease.grant(identity, wasOthers);
      await until(`it hears; ${log.text()}`, () => times(log.text()) > before);
    },
    request: (index = 0) => requestAt(index, requests, log),
    [Symbol.asyncDispose]: () => channel.close(),
  };
}

function times(log: string): number {
  return log.split("connected as the intake").length - 1;
}
