import type { MqttClient, Packet } from "mqtt";
import { Failure } from "../../base/failure.ts";
import { ProtocolFault } from "../limiter/packet-limiter.ts";
import type { Transport } from "./transport.ts";

/** The way out where a broker refuses a message of the gateway. */
export const GRANT_RIGHTS =
  "give the gateway's user at the broker the rights that picoclaw acl prints";

/** What to do after a refusal: end the connection, use the older protocol, or try again later. */
export type Disposition = "fatal" | "downgrade" | "retry";

interface Reason {
  readonly name: string;
  readonly disposition: Disposition;
  readonly remedy?: string;
}

/** Errors of a failed attempt to connect. */
const ADDRESS_ERRORS: ReadonlySet<string> = new Set([
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ENOENT",
]);
const ADDRESS = "check that a broker runs at this address, or correct settings.broker or --broker";
const CREDENTIALS = "check username and password (.security.yml, or --user and --password-file)";
const AUTO = 'set protocol_version to "auto"';
const RIGHTS = "ask whoever runs the broker for the rights of this user and client id";

export const CLIENT_ID =
  "stop the other program, or give each gateway its own client_id; left empty, each home makes its own";

/** CONNACK return codes of MQTT 3.1.1 (section 3.2.2.3). */
const RETURN_CODES: Readonly<Record<number, Reason>> = {
  1: { name: "unacceptable protocol version", disposition: "downgrade", remedy: AUTO },
  2: { name: "client id rejected", disposition: "fatal", remedy: "choose another client_id" },
  3: { name: "server unavailable", disposition: "retry" },
  4: { name: "bad user name or password", disposition: "fatal", remedy: CREDENTIALS },
  5: { name: "not authorized", disposition: "fatal", remedy: CREDENTIALS },
};

/** Reason codes of MQTT 5 (section 2.4) that a CONNACK, SUBACK, PUBACK or DISCONNECT can carry. */
const REASON_CODES: Readonly<Record<number, Reason>> = {
  0x80: { name: "unspecified error", disposition: "retry" },
  0x81: { name: "malformed packet", disposition: "retry" },
  0x82: { name: "protocol error", disposition: "retry" },
  0x83: { name: "implementation specific error", disposition: "retry" },
  0x84: { name: "unsupported protocol version", disposition: "downgrade", remedy: AUTO },
  0x85: { name: "client id not valid", disposition: "fatal", remedy: "choose another client_id" },
  0x86: { name: "bad user name or password", disposition: "fatal", remedy: CREDENTIALS },
  0x87: { name: "not authorized", disposition: "fatal", remedy: `${CREDENTIALS}, or ${RIGHTS}` },
  0x88: { name: "server unavailable", disposition: "retry" },
  0x89: { name: "server busy", disposition: "retry" },
  0x8a: { name: "banned", disposition: "fatal", remedy: RIGHTS },
  0x8b: { name: "server shutting down", disposition: "retry" },
  0x8c: { name: "bad authentication method", disposition: "fatal", remedy: CREDENTIALS },
  0x8d: { name: "keep alive timeout", disposition: "retry" },
  0x8e: {
    name: "session taken over by another program with the same client id",
    disposition: "fatal",
    remedy: CLIENT_ID,
  },
  0x8f: {
    name: "topic filter invalid",
    disposition: "fatal",
    remedy: "check topic_prefix and agent_id",
  },
  0x90: {
    name: "topic name invalid",
    disposition: "fatal",
    remedy: "check topic_prefix and agent_id",
  },
  0x93: { name: "receive maximum exceeded", disposition: "retry" },
  0x95: { name: "packet too large", disposition: "fatal", remedy: "lower max_message_bytes" },
  0x96: { name: "message rate too high", disposition: "retry" },
  0x97: { name: "quota exceeded", disposition: "retry" },
  0x98: { name: "administrative action", disposition: "retry" },
  0x99: { name: "payload format invalid", disposition: "fatal" },
  0x9a: {
    name: "retain not supported",
    disposition: "fatal",
    remedy: "use a broker that keeps retained messages",
  },
  0x9b: { name: "QoS not supported", disposition: "fatal", remedy: "lower qos" },
  0x9c: { name: "use another server", disposition: "retry" },
  0x9d: { name: "server moved", disposition: "retry", remedy: "set broker to the new server" },
  0x9e: { name: "shared subscriptions not supported", disposition: "fatal" },
  0x9f: { name: "connection rate exceeded", disposition: "retry" },
  0xa1: { name: "subscription identifiers not supported", disposition: "fatal" },
  0xa2: { name: "wildcard subscriptions not supported", disposition: "fatal", remedy: RIGHTS },
};

const TAKEN_OVER = 0x8e;

/** Why a connection or a request was refused or lost, and what to do then. */
export interface Refusal {
  readonly disposition: Disposition;
  readonly failure: Failure;
  /** The broker closed the connection without a CONNACK, as some do when they do not know the protocol. */
  readonly hungUp?: boolean;
  /** The broker accepted the connection and did not answer the CONNECT, as some do with MQTT 5. */
  readonly unanswered?: boolean;
  /** Another client connected under the same client id. MQTT 3.1.1 does not tell that. */
  readonly takenOver?: boolean;
  /** The broker closed an accepted connection without a reason. */
  readonly closedByBroker?: boolean;
}

/** Why a TLS handshake failed, in the words of the runtimes and their TLS libraries, and what to do. */
const HANDSHAKES: readonly { pattern: RegExp; name: string; remedy: string }[] = [
  {
    pattern: /protocol[ _]?version|unsupported protocol/i,
    name: "the broker does not speak TLS 1.2 or later",
    remedy: "let the broker offer TLS 1.2 (mosquitto: tls_version tlsv1.2), or replace it",
  },
  {
    pattern: /certificate has expired|CERT_HAS_EXPIRED/i,
    name: "the broker's certificate has expired",
    remedy: "renew it at the broker, and check this device's clock",
  },
  {
    pattern: /altnames|NotValidForName/i,
    name: "the broker's certificate is for another name",
    remedy: "use the certificate's name in the URL, or set tls.server_name to it",
  },
  {
    pattern: /self.signed|verify the first certificate|UnknownIssuer|issuer certificate/i,
    name: "the broker's certificate is not signed by a trusted authority",
    remedy:
      "set tls.ca_file to the PEM of the authority that signed it (gateway --check shows its validity)",
  },
];

/** Receive Maximum or quota exceeded: in PUBACK and PUBREC they concern the connection, not the message. */
export function isLossCode(code: number): boolean {
  return code === 0x93 || code === 0x97;
}

/** The broker closed the connection before its CONNACK. */
function hungUp(why: string | undefined): Refusal {
  const failure = new Failure(
    "unreachable",
    "the broker closed the connection before it answered",
    {
      why,
      remedy: `${CREDENTIALS}, because some brokers hang up instead of refusing; check that the URL and the port agree about TLS`,
    },
  );
  return { disposition: "retry", failure, hungUp: true };
}

/** The broker did not answer in time; `where` says to what. */
export function unanswered(milliseconds: number, where = ""): Refusal {
  const why = `no CONNACK within ${milliseconds / 1000} s${where}`;
  return { ...unreachable("the broker did not answer", why), unanswered: true };
}

/** The connection failed without a reason from the broker: try again. */
export function unreachable(message: string, why: string | undefined, remedy?: string): Refusal {
  const handshake = HANDSHAKES.find(({ pattern }) => pattern.test(why ?? ""));
  const failure = new Failure("unreachable", handshake?.name ?? message, {
    why,
    remedy: handshake?.remedy ?? remedy,
  });
  return { disposition: "retry", failure };
}

/** The peer sent what MQTT does not allow. It may not be a broker; next time it may be another one. */
function protocolBroken(what: string): Refusal {
  const failure = new Failure("unreachable", "the broker broke the MQTT protocol", {
    why: `it sent ${what}; the connection was cut`,
    remedy: "check that the address is a broker's, and what is in between",
  });
  return { disposition: "retry", failure };
}

/** What a broker's code means; after an unknown code we try again. */
export function refusalOf(code: number, what: string): Refusal {
  const reason = REASON_CODES[code] ?? RETURN_CODES[code];
  const said = code < 0x80 ? String(code) : `0x${code.toString(16)}`;
  const { disposition = "retry", remedy, name = "unknown reason" } = reason ?? {};
  const failure = new Failure(
    disposition === "fatal" ? "refused" : "unreachable",
    `${what}: ${name}`,
    {
      why: `the broker answered with reason code ${said}`,
      remedy,
    },
  );
  return { disposition, failure, ...(code === TAKEN_OVER && { takenOver: true }) };
}

/** Resolves when the stream is closed, with the best reason that is known by then. */
export function closeReason(client: MqttClient, transport: Transport): Promise<Refusal> {
  /** The reason that the broker gave. */
  let stated: Refusal | undefined;
  let failed: Refusal | undefined;
  let isConnected = false;
  const takeConnack = (packet: Packet): void => {
    if (packet.cmd !== "connack") return;
    const code = packet.reasonCode ?? packet.returnCode ?? 0;
    if (code > 0) stated ??= refusalOf(code, "the broker refused the connection");
  };
  client.on("packetreceive", takeConnack);
  let hasEnded = false;
  client.once("connect", () => {
    isConnected = true;
    client.off("packetreceive", takeConnack);
    client.stream.once("end", () => {
      hasEnded = true;
    });
  });
  client.on("error", (error) => {
    failed ??= errorReason(error);
    // The library reports a malformed packet and leaves the socket open (MQTT 5 section 4.13: close it).
    client.stream.destroy();
  });
  client.on("disconnect", ({ reasonCode = 0 }) => {
    stated ??= disconnectReason(reasonCode);
    // MQTT 5 section 4.13: the sender of DISCONNECT closes the connection; some do not.
    client.stream.destroy();
  });
  return new Promise((resolve) => {
    client.on("close", () => {
      const error = transport.error();
      const isSilent = isReset(error) || (failed === undefined && error === undefined);
      if (error instanceof ProtocolFault) resolve(protocolBroken(error.message));
      else if (stated !== undefined) resolve(stated);
      else if (isSilent && !isConnected) resolve(hungUp(error?.message));
      else {
        const lost = failed ?? unreachable("the connection to the broker was lost", error?.message);
        resolve({ ...lost, closedByBroker: hasEnded || isReset(error) });
      }
    });
  });
}

/** To be thrown out by another gateway that uses the same client id in turn. */
export const TAKEN_OVER_IN_TURN: Refusal = unreachable(
  "the broker ended the connection: another client connected with the same client id",
  "another gateway of this store hears now",
  "if this repeats, a client that does not share this store uses the id: give each its own client_id",
);

/** MQTT 5 section 3.14.2.1. Below 0x80 it is no refusal, although 3.1.1 has CONNACK codes with these numbers. */
function disconnectReason(code: number): Refusal {
  const what = "the broker ended the connection";
  return code < 0x80 ? unreachable(what, `with reason code ${code}`) : refusalOf(code, what);
}

/** A peer that closes a socket before it has read our CONNECT sends a reset instead of an end. */
function isReset(error: (Error & { code?: unknown }) | undefined): boolean {
  return error?.code === "ECONNRESET" || error?.code === "EPIPE";
}

/** A numeric code comes from the library; the broker's own codes are read from its packets. */
function errorReason(error: Error & { code?: unknown }): Refusal {
  if (typeof error.code === "number")
    return protocolBroken(`a packet that the client library rejects (${error.message})`);
  const isAddressWrong = typeof error.code === "string" && ADDRESS_ERRORS.has(error.code);
  return unreachable("the connection failed", error.message, isAddressWrong ? ADDRESS : undefined);
}
