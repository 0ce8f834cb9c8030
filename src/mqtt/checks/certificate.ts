import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";

/** What a broker's certificate says. */
export interface ShownCertificate {
  readonly names: string;
  readonly issuer: string;
  /** Its validity, in milliseconds since the epoch. */
  readonly from: number;
  readonly to: number;
}

/** The certificate that the other side shows, trusted or not; undefined without a handshake in time. Ends the socket. */
export async function certificateOf(
  socket: TLSSocket,
  milliseconds: number,
): Promise<ShownCertificate | undefined> {
  return heardFrom<ShownCertificate | undefined>(socket, milliseconds, undefined, (resolve) => {
    socket.once("secureConnect", () => resolve(shownBy(socket)));
    socket.on("error", () => resolve(undefined));
  });
}

function shownBy(socket: TLSSocket): ShownCertificate {
  const { subject, issuer, subjectaltname, valid_from, valid_to } = socket.getPeerCertificate();
  return {
    names: subjectaltname?.replaceAll("IP Address:", "").replaceAll("DNS:", "") ?? nameIn(subject),
    issuer: nameIn(issuer),
    from: Date.parse(valid_from),
    to: Date.parse(valid_to),
  };
}

/** What `listen` resolves with by the events of a socket; `late` without them in time. Ends the socket. */
export async function heardFrom<T>(
  socket: Socket,
  milliseconds: number,
  late: T,
  listen: (resolve: (heard: T) => void) => void,
): Promise<T> {
  const { promise, resolve } = Promise.withResolvers<T>();
  listen(resolve);
  const timer = setTimeout(() => resolve(late), milliseconds);
  const heard = await promise;
  clearTimeout(timer);
  socket.destroy();
  return heard;
}

function nameIn(subject: { CN?: string | string[]; O?: string | string[] } | undefined): string {
  return String(subject?.CN ?? subject?.O ?? "?");
}

/** `2026-11-30` */
export function day(time: number): string {
  return new Date(time).toISOString().slice(0, 10);
}

export const SET_CLOCK = "set the clock (timedatectl set-ntp true)";
