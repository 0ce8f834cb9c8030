import { at, fromJson, isObject, listAt, textAt } from "../../base/unknown.ts";
import { utf8Of } from "./wire.ts";

/** One gateway as others see it. */
export interface GatewayFacts {
  /** The same at each start of its home. */
  readonly instance: string;
  readonly version: string;
  /** When its process began, in ISO 8601. With `instance` it names the process. */
  readonly since: string;
  readonly host?: string | undefined;
}

/** A gateway of the same cluster; a gateway without a shared store is a cluster of one. */
export interface ListedGateway extends GatewayFacts {
  /** Requests that run or wait. */
  readonly load?: number | undefined;
  /** Equal for gateways whose agents have the same instructions and skills; absent without a shared store. */
  readonly instructions?: string | undefined;
}

/** What a gateway says of itself in the topic `info`. */
export interface GatewayInfo extends GatewayFacts {
  /** Those of its cluster, itself among them; undefined in the info of an earlier version. */
  readonly gateways: readonly ListedGateway[] | undefined;
  /** Gateways that are not of its cluster and serve the same agent id: each request is answered by them as well. */
  readonly others: readonly GatewayFacts[];
  /** It wants to be the only one (`gateway.exclusive`). */
  readonly exclusive: boolean;
  /** Absent while it serves. Only the info of a gateway that serves is retained. */
  readonly state?: "starting" | "ended" | undefined;
}

const MAX_PAYLOAD_BYTES = 65_536;
const MAX_LISTED = 64;
const MAX_TEXT = 64;

/** The name of a process: a gateway has another one after each start. */
export function processOf({ instance, since }: Pick<GatewayFacts, "instance" | "since">): string {
  return `${since} ${instance}`;
}

/** Reads the payload of an info topic, which anyone may have written; undefined if it is none. */
export function decodeInfo(payload: Uint8Array): GatewayInfo | undefined {
  if (payload.byteLength > MAX_PAYLOAD_BYTES) return undefined;
  try {
    const found = fromJson(utf8Of(payload) ?? "");
    const facts = factsIn(found);
    if (facts === undefined) return undefined;
    const state = at(found, "state");
    const isListed = Array.isArray(at(found, "gateways"));
    return {
      ...facts,
      gateways: isListed ? gatewaysIn(found, "gateways") : undefined,
      others: gatewaysIn(found, "others"),
      exclusive: at(found, "exclusive") === true,
      state: state === "starting" || state === "ended" ? state : undefined,
    };
  } catch {
    return undefined;
  }
}

/** What another gateway of the cluster told of itself; undefined if that is not understood. */
export function listedGateway(about: unknown): ListedGateway | undefined {
  const facts = factsIn(about);
  const load = at(about, "load");
  const instructions = textAt(at(about, "instructions"), "hash").slice(0, MAX_TEXT);
  return (
    facts && {
      ...facts,
      ...(typeof load === "number" && { load }),
      ...(instructions && { instructions }),
    }
  );
}

function gatewaysIn(found: unknown, key: "gateways" | "others"): readonly GatewayFacts[] {
  const listed = listAt(found, key).slice(0, MAX_LISTED);
  return listed.flatMap((one) => factsIn(one) ?? []);
}

function factsIn(found: unknown): GatewayFacts | undefined {
  if (!isObject(found)) return undefined;
  const [instance, version, since, host] = ["instance", "version", "since", "host"].map((key) =>
    textAt(found, key).slice(0, MAX_TEXT),
  );
  if (!instance || !since) return undefined;
  return { instance, version: version ?? "", since, ...(host && { host }) };
}
