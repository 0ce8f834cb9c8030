import type { MqttClient } from "mqtt";
import { ProtocolFault } from "./guard.ts";
import { ConnectionLost } from "./message.ts";
import { hungUp, protocolBroken, refusalOf, unreachable, type Refusal } from "./reasons.ts";
import type { Transport } from "./transport.ts";

/** Lets work be given up as soon as the connection that it waits for is lost. */
export interface LossGuard {
  readonly isLost: () => boolean;
  /** Settles as the work does, or rejects with `ConnectionLost`; leaves nothing behind when the work is done. */
  readonly orLost: <T>(work: Promise<T>) => Promise<T>;
}

/** `Promise.race` against `lost` would keep a reaction for every publish for as long as a connection lives. */
export function createLossGuard(lost: Promise<unknown>): LossGuard {
  const waiting = new Set<(error: ConnectionLost) => void>();
  let isLost = false;
  void lost.then(() => {
    isLost = true;
    for (const reject of waiting) reject(new ConnectionLost("the connection was lost"));
    waiting.clear();
  });
  return {
    isLost: () => isLost,
    orLost: (work) =>
      new Promise((resolve, reject) => {
        if (isLost) reject(new ConnectionLost("the connection was lost"));
        else waiting.add(reject);
        work.then(resolve, reject).finally(() => waiting.delete(reject));
      }),
  };
}

/** Settles when the stream is closed, with the best reason that was heard before. */
export function lossOf(client: MqttClient, transport: Transport): Promise<Refusal> {
  let word: Refusal | undefined;
  let trouble: Refusal | undefined;
  let up = false;
  client.once("connect", () => {
    up = true;
  });
  client.on("packetreceive", (packet) => {
    if (packet.cmd !== "connack" || up) return;
    const code = packet.reasonCode ?? packet.returnCode ?? 0;
    if (code > 0) word ??= refusalOf(code, "the broker refused the connection");
  });
  client.on("error", (error) => {
    trouble ??= troubleOf(error);
    // A malformed packet is told as an error and leaves the socket open (MQTT 5 section 4.13: close it).
    client.stream.destroy();
  });
  client.on("disconnect", ({ reasonCode = 0 }) => {
    word ??= endedWith(reasonCode);
    // MQTT 5 section 4.13: whoever says DISCONNECT closes, and some do not.
    client.stream.destroy();
  });
  return new Promise((resolve) => {
    client.on("close", () => {
      const error = transport.error();
      const isWordless = isReset(error) || (trouble === undefined && error === undefined);
      if (error instanceof ProtocolFault) resolve(protocolBroken(error.message));
      else if (word !== undefined) resolve(word);
      else if (isWordless && !up) resolve(hungUp(error?.message));
      else resolve(trouble ?? unreachable("the connection to the broker was lost", error?.message));
    });
  });
}

/** MQTT 5 section 3.14.2.1; below 0x80 it is no refusal, whatever a CONNACK of 3.1.1 means by such a number. */
function endedWith(code: number): Refusal {
  const what = "the broker ended the connection";
  return code < 0x80 ? unreachable(what, `with reason code ${code}`) : refusalOf(code, what);
}

/** A peer that closes a socket with our CONNECT still unread in it sends a reset instead of an end. */
function isReset(error: (Error & { code?: unknown }) | undefined): boolean {
  return error?.code === "ECONNRESET" || error?.code === "EPIPE";
}

/** A numeric code is one that the library made up: what the broker itself says is read from its packets. */
function troubleOf(error: Error & { code?: unknown }): Refusal {
  if (typeof error.code === "number")
    return protocolBroken(`what the client library refuses (${error.message})`);
  return unreachable("the connection failed", error.message);
}
