import { lookup } from "node:dns/promises";
import { connect, isIP, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { settlesWithin } from "../../base/async.ts";
import { codeOf, messageOf } from "../../base/failure.ts";
import { authorityOf } from "../../base/url.ts";
import type { TlsSettings } from "../../config/contract.ts";
import { type DialAddress, serverName, tlsOptions } from "../client/transport.ts";
import { certificateOf, day, heardFrom, SET_CLOCK, type ShownCertificate } from "./certificate.ts";

/** Why a broker cannot be used, as seen from the network. */
export interface Obstacle {
  readonly code: "broker.dns" | "broker.tcp" | "broker.tls";
  /** Goes on after the address of the broker. */
  readonly message: string;
  readonly remedy: string;
}

type NetworkAddress = Exclude<DialAddress, { kind: "unix" }>;

/** Milliseconds of one step; a network that needs longer is no network for a gateway. */
const STEP_MS = 1_500;
/** The ports of MQTT without and with TLS. */
const PORTS = [1883, 8883];

/** Why no connection to that address can be opened; undefined if one can. Takes at most 4 s. */
export async function obstacleTo(address: DialAddress): Promise<Obstacle | undefined> {
  if (address.kind === "unix") return socketObstacle(address.path);
  const { host, port } = address;
  if (isIP(host) === 0) {
    const found = await nameError(host);
    if (found !== undefined) return found;
  }
  const opened = await openPort(host, port);
  if (opened === "open") return undefined;
  if (opened !== "ECONNREFUSED") return unreachable(opened, host, port);
  const others = PORTS.filter((other) => other !== port);
  const open = await Promise.all(others.map((other) => openPort(host, other, STEP_MS / 3)));
  const listening = others.filter((_, index) => open[index] === "open");
  const message = `nothing listens on port ${port} of ${host}`;
  const start = `start the broker there (systemctl start mosquitto), or correct the address`;
  if (listening.length === 0) return { code: "broker.tcp", message, remedy: start };
  const instead = `port ${listening.join(" and ")} of it is open`;
  return {
    code: "broker.tcp",
    message: `${message}; ${instead}`,
    remedy: `set the port to ${listening[0]}, or start the broker on ${port}`,
  };
}

function unreachable(code: string, host: string, port: number): Obstacle {
  const message =
    code === ""
      ? `${host} does not answer on port ${port}`
      : `${host} cannot be reached on port ${port} (${code})`;
  const remedy = `check the address, that the machine is on (ping ${host}), and the firewalls in between`;
  return { code: "broker.tcp", message, remedy };
}

async function socketObstacle(path: string): Promise<Obstacle | undefined> {
  const opened = await outcomeOf(connect({ path }), STEP_MS);
  if (opened === "open") return undefined;
  const message = `the socket ${path} cannot be opened (${opened})`;
  return { code: "broker.tcp", message, remedy: "start the broker, or correct the path" };
}

async function nameError(host: string): Promise<Obstacle | undefined> {
  let why = "no answer in time";
  const found = lookup(host).then(
    () => true,
    (error: unknown) => {
      why = codeOf(error) || messageOf(error);
      return false;
    },
  );
  const isFound = (await settlesWithin(found, STEP_MS)) && (await found);
  if (isFound) return undefined;
  return {
    code: "broker.dns",
    message: `the name ${host} does not resolve (${why})`,
    remedy: `correct the name of the broker, or write its address; to test: getent hosts ${host}`,
  };
}

/** `open`, the code of the error, or "" if there is no answer in time. */
function openPort(host: string, port: number, milliseconds = STEP_MS): Promise<string> {
  return outcomeOf(connect({ host, port }), milliseconds);
}

function outcomeOf(socket: Socket, milliseconds: number): Promise<string> {
  return heardFrom(socket, milliseconds, "", (resolve) => {
    socket.once("connect", () => resolve("open"));
    socket.on("error", (error) => resolve(codeOf(error) || error.message));
  });
}

/** CONNECT of MQTT 3.1.1 (section 3.1) with a clean session, the client id `picoclaw` and no credentials. */
const CONNECT = Buffer.from(
  "\u0010\u0014\u0000\u0004MQTT\u0004\u0002\u0000\u000a\u0000\u0008picoclaw",
  "latin1",
);

type WireProtocol = "mqtt" | "tls" | "http" | "unknown";

/** Which protocol a port speaks. A server of TLS may hang up on what is none, without a byte. */
async function protocolOn(address: NetworkAddress): Promise<WireProtocol> {
  const { host, port } = address;
  const protocol = await plainProtocol(address);
  if (protocol !== "unknown") return protocol;
  const socket = connectTls({ host, port, rejectUnauthorized: false });
  const shown = await certificateOf(socket, STEP_MS);
  return shown === undefined ? "unknown" : "tls";
}

/** By the first byte that comes back for a CONNECT without TLS. */
async function plainProtocol({ host, port }: NetworkAddress): Promise<WireProtocol> {
  const socket = connect({ host, port });
  return heardFrom<WireProtocol>(socket, STEP_MS, "unknown", (resolve) => {
    socket.once("connect", () => socket.write(CONNECT));
    socket.once("data", (data: Buffer) => resolve(protocolOfByte(data[0])));
    for (const end of ["end", "close", "error"]) socket.on(end, () => resolve("unknown"));
  });
}

const CONNACK = 0x20;
/** Content types of TLS: alert and handshake (RFC 8446 section 5.1). */
const ALERT = 0x15;
const HANDSHAKE = 0x16;
/** `HTTP/1.1`. */
const HTTP = 0x48;

function protocolOfByte(byte: number | undefined): WireProtocol {
  if (byte === CONNACK) return "mqtt";
  if (byte === ALERT || byte === HANDSHAKE) return "tls";
  return byte === HTTP ? "http" : "unknown";
}

/** Why an open port does not let us in, where the fault is TLS or its absence; undefined otherwise. */
export async function protocolObstacle(
  address: DialAddress,
  tls: TlsSettings,
): Promise<Obstacle | undefined> {
  if (address.kind === "unix") return undefined;
  const isSecure = address.kind === "tls" || address.kind === "wss";
  const protocol = await protocolOn(address);
  const at = `port ${address.port} of ${address.host}`;
  const { host, port } = address;
  if (isSecure && (protocol === "mqtt" || protocol === "http")) {
    const scheme = protocol === "mqtt" ? "tcp" : "ws";
    return {
      code: "broker.tls",
      message: `${at} speaks no TLS, and the address asks for it`,
      remedy: `set broker to ${scheme}://${authorityOf(host, port)}, or to the broker's port with TLS, mostly 8883`,
    };
  }
  if (!isSecure && protocol === "tls") {
    return {
      code: "broker.tls",
      message: `${at} speaks TLS, and the address does not`,
      remedy: `set broker to mqtts://${authorityOf(host, port)}, and tls.ca_file to the authority that signed its certificate`,
    };
  }
  if (protocol === "http" && address.kind === "tcp") {
    const message = `${at} speaks HTTP, not MQTT`;
    const remedy = `set broker to the port of MQTT, mostly 1883, or to ws://${authorityOf(host, port)}`;
    return { code: "broker.tcp", message, remedy };
  }
  return isSecure ? certificateObstacle(address, tls) : undefined;
}

/** Why the certificate is refused; undefined if it is not, or if there is no handshake. */
async function certificateObstacle(
  { host, port }: NetworkAddress,
  tls: TlsSettings,
): Promise<Obstacle | undefined> {
  const options = await tlsOptions(tls);
  const socket = connectTls({ host, port, ...options, ...serverName(tls, host) });
  const error = await heardFrom<Error | undefined>(socket, STEP_MS, undefined, (resolve) => {
    socket.once("secureConnect", () => resolve(undefined));
    socket.on("error", resolve);
  });
  if (error === undefined) return undefined;
  const open = connectTls({
    host,
    port,
    ...options,
    ...serverName(tls, host),
    rejectUnauthorized: false,
  });
  const shown = await certificateOf(open, STEP_MS);
  return certificateFault(`${codeOf(error)} ${error.message}`, shown, tls.server_name ?? host);
}

function tlsFault(message: string, remedy: string): Obstacle {
  return { code: "broker.tls", message, remedy };
}

function certificateFault(
  error: string,
  shown: ShownCertificate | undefined,
  name: string,
): Obstacle {
  const now = Date.now();
  if (shown !== undefined && shown.to < now) {
    return tlsFault(
      `its certificate expired on ${day(shown.to)}, and this device's clock says ${day(now)}`,
      `renew the certificate at the broker, or ${SET_CLOCK}`,
    );
  }
  if (shown !== undefined && shown.from > now) {
    return tlsFault(
      `its certificate is valid from ${day(shown.from)} on, and this device's clock says ${day(now)}`,
      SET_CLOCK,
    );
  }
  if (/ALTNAME|altnames|NotValidForName|HOSTNAME/i.test(error)) {
    return tlsFault(
      `its certificate is for ${shown?.names ?? "another name"}, not for ${name}`,
      "use a name of the certificate in the address, or set tls.server_name to it",
    );
  }
  if (/self.signed|UNABLE_TO|unable to|verify|issuer|UnknownIssuer/i.test(error)) {
    return tlsFault(
      `its certificate is signed by ${shown?.issuer ?? "an authority"}, which this device does not trust`,
      "set tls.ca_file (or --cafile) to the PEM of that authority",
    );
  }
  return tlsFault(
    `the TLS handshake failed (${error.trim()})`,
    "compare the TLS settings with those of the broker",
  );
}
