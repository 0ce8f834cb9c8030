import { processOf, type GatewayFacts, type GatewayInfo } from "../protocol/info.ts";

/** A gateway that is not of our cluster. */
interface OtherGateway {
  readonly facts: GatewayFacts;
  /** It serves, and has read our info. */
  isProven: boolean;
  /** It has not been heard since we connected, or since somebody said `offline`. */
  isSilent: boolean;
}

/** What an info means to us. */
export interface Heard {
  /** It names us, so its sender lives. */
  readonly isProof: boolean;
  /** Its sender should hear from us. */
  readonly mustAnswer: boolean;
  /** It is known from now on that its sender serves. */
  readonly isFound: boolean;
  /** Its sender was known, and ended. */
  readonly isGone: boolean;
}

/** Others that are remembered; more of them are invented. */
const MOST = 16;

/**
 * The other gateways of an agent id, by what they say. An info proves that its sender lives only if it names us:
 * a broker may deliver the info of a gateway that has ended. A gateway answers each info that does not name it,
 * and no other: so two of them are quiet after three messages.
 */
export class OtherGateways {
  readonly #self: string;
  readonly #isOfCluster: (process: string) => boolean;
  readonly #known = new Map<string, OtherGateway>();

  constructor(self: GatewayFacts, isOfCluster: (process: string) => boolean) {
    this.#self = processOf(self);
    this.#isOfCluster = isOfCluster;
  }

  /** Whether the info is of this process, or of a gateway of its cluster. */
  isOurs(info: GatewayInfo): boolean {
    const name = processOf(info);
    const namesUs = info.gateways?.some((one) => processOf(one) === this.#self) ?? false;
    return name === this.#self || namesUs || this.#isOfCluster(name);
  }

  /** Takes note of an info of another gateway, which the broker did not keep. */
  take(info: GatewayInfo): Heard {
    const { gateways, others, state } = info;
    const name = processOf(info);
    const known = this.#known.get(name);
    if (state === "ended") {
      this.#known.delete(name);
      const isGone = known?.isProven === true;
      return { isProof: false, mustAnswer: known !== undefined, isFound: false, isGone };
    }
    // Earlier versions name nobody, and answer nobody.
    const isProof = gateways === undefined || others.some((one) => processOf(one) === this.#self);
    const isProven = this.#forgetMembers(name, gateways ?? []);
    const other = known ?? { facts: factsOf(info), isProven, isSilent: false };
    if (known === undefined && this.#known.size < MOST) this.#known.set(name, other);
    const isFound = isProof && state === undefined && !other.isProven;
    other.isProven ||= isFound;
    other.isSilent = false;
    return { isProof, mustAnswer: !isProof, isFound, isGone: false };
  }

  /**
   * One gateway speaks for its cluster, now another one than before. Returns whether it was known that the cluster
   * serves.
   */
  #forgetMembers(speaker: string, cluster: readonly GatewayFacts[]): boolean {
    let isProven = false;
    for (const name of cluster.map(processOf)) {
      if (name === speaker) continue;
      isProven ||= this.#known.get(name)?.isProven === true;
      this.#known.delete(name);
    }
    return isProven;
  }

  /** From now on only those count that are heard. */
  expectAll(): void {
    for (const other of this.#known.values()) other.isSilent = true;
  }

  /** Forgets those that were not heard, or did not prove that they serve. Returns those that had. */
  forgetSilent(): readonly GatewayFacts[] {
    const gone = [...this.#known].filter(([, one]) => one.isSilent || !one.isProven);
    for (const [name] of gone) this.#known.delete(name);
    return gone.flatMap(([, { facts, isProven }]) => (isProven ? [facts] : []));
  }

  /** Those that our info names. */
  named(): readonly GatewayFacts[] {
    return this.#factsOf(({ isSilent }) => !isSilent);
  }

  /** Those that serve, as far as is known. */
  serving(): readonly GatewayFacts[] {
    return this.#factsOf(({ isProven }) => isProven);
  }

  /** Whether one serves that was heard since the last doubt. */
  isAnyHeard(): boolean {
    return [...this.#known.values()].some(({ isProven, isSilent }) => isProven && !isSilent);
  }

  #factsOf(wanted: (one: OtherGateway) => boolean): readonly GatewayFacts[] {
    const some = [...this.#known.values()].filter(wanted).map(({ facts }) => facts);
    return some.toSorted((a, b) => (processOf(a) < processOf(b) ? -1 : 1));
  }
}

function factsOf({ instance, version, since, host }: GatewayFacts): GatewayFacts {
  return { instance, version, since, ...(host && { host }) };
}
