import { Failure } from "../../base/failure.ts";
import type { MqttSettings } from "../../config/contract.ts";
import { unreachable, type Refusal } from "./reasons.ts";
import { dialAddressOf, type DialAddress } from "./transport.ts";

/** One address of the broker. */
export interface BrokerNode {
  /** As the configuration names it. */
  readonly broker: string;
  readonly address: DialAddress;
}

/** The addresses of a channel's broker, in the order in which they are tried. */
export function nodesOf({ broker }: Pick<MqttSettings, "broker">): readonly BrokerNode[] {
  return broker.map((one) => ({ broker: one, address: dialAddressOf(one) }));
}

/** How a connection to a node ended. */
export interface NodeOutcome {
  readonly refusal: Refusal;
  /** Milliseconds for which it was connected and subscribed; undefined if it never was. */
  readonly connectedMs: number | undefined;
  /** Whether something was published meanwhile besides `status` and `info`. */
  readonly hasAnswered?: boolean;
}

/** What follows from an outcome. */
export interface NextAttempt {
  /** What to report; undefined while there are nodes that were not tried since the last connection. */
  readonly refusal: Refusal | undefined;
  /** Until the next attempt. */
  readonly waitMs: number;
}

/** The part of the time between attempts in which the next node of a round is tried, at random. */
const NEXT_NODE = 0.1;
/** And at most so many milliseconds, also for a connection that does not dial again after a round. */
const NEXT_NODE_MS = 500;
/** The part by which the time between rounds is longer or shorter, at random. */
const SPREAD = 0.25;

/**
 * The nodes of a broker, tried in turn. After a loss, and after a failure, the next node is tried: the last one
 * may be down, restarting, or asking us to leave. Between two rounds, and after a connection that was short, the
 * time is as long as with one node, so that nodes that accept and drop us are not dialled without end. Random
 * times keep clients of a node that died from dialling the next one at the same moment. With one node there is
 * no randomness.
 */
export class NodeRotation<Node extends BrokerNode> {
  readonly #nodes: readonly Node[];
  readonly #reconnectMs: number;
  #index = 0;
  /** Failures to connect since the last connection or round. */
  readonly #failures = new Map<BrokerNode, Refusal>();

  constructor(nodes: readonly Node[], reconnectMs: number) {
    this.#nodes = nodes;
    this.#reconnectMs = reconnectMs;
  }

  current(): Node {
    const node = this.#nodes[this.#index];
    if (node === undefined) throw new Failure("config", "the channel has no broker");
    return node;
  }

  /** Moves on to the next node. */
  next({ refusal, connectedMs }: NodeOutcome): NextAttempt {
    const node = this.current();
    this.#index = (this.#index + 1) % this.#nodes.length;
    if (this.#nodes.length === 1) return { refusal, waitMs: this.#reconnectMs };
    if (connectedMs !== undefined) {
      this.#failures.clear();
      const isShort = connectedMs < this.#reconnectMs;
      return { refusal, waitMs: isShort ? this.#betweenRounds() : this.#withinRound() };
    }
    // What is wrong with the configuration is wrong for every node.
    if (refusal.failure.code === "config") return { refusal, waitMs: 0 };
    this.#failures.set(node, refusal);
    if (this.#failures.size < this.#nodes.length) {
      return { refusal: undefined, waitMs: this.#withinRound() };
    }
    const combined = combinedRefusal(this.#failures);
    this.#failures.clear();
    return { refusal: combined, waitMs: this.#betweenRounds() };
  }

  #withinRound(): number {
    return Math.min(this.#reconnectMs * NEXT_NODE, NEXT_NODE_MS) * Math.random();
  }

  #betweenRounds(): number {
    return this.#reconnectMs * (1 - SPREAD + 2 * SPREAD * Math.random());
  }
}

/** Why no node works. It is final if every node refused for good. */
function combinedRefusal(failures: ReadonlyMap<BrokerNode, Refusal>): Refusal {
  const message = `none of the ${failures.size} brokers can be used`;
  const each = [...failures].map(([{ broker }, { failure }]) => {
    const because = failure.why === undefined ? "" : ` (${failure.why})`;
    return `${broker}: ${failure.message}${because}`;
  });
  const why = each.join("; ");
  const remedies = new Set([...failures.values()].flatMap(({ failure }) => failure.remedy ?? []));
  const remedy = remedies.size === 0 ? undefined : [...remedies].join("; ");
  const isFinal = [...failures.values()].every(({ disposition }) => disposition === "fatal");
  if (!isFinal) return unreachable(message, why, remedy);
  return { disposition: "fatal", failure: new Failure("refused", message, { why, remedy }) };
}
