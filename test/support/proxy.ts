import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";

/** A way to a server that can be cut, closed and silenced while the server itself goes on. */
export interface Proxy extends AsyncDisposable {
  readonly port: number;
  readonly url: string;
  /** Cuts every connection, as a router that restarts does. */
  reset(): void;
  /** Whether new connections are cut at once. */
  refuse(on: boolean): void;
  /** Whether everything that is sent vanishes, both ways, with all connections open. */
  blackhole(on: boolean): void;
  /** Whether what the server sends vanishes, with all connections open: its acknowledgements, too. */
  mute(on: boolean): void;
  /** Milliseconds for which what both sides send is held back. */
  delay(ms: number): void;
}

/** Looks at what is sent before it is handed on; with true as the result the connection is cut instead. */
export type Cuts = (data: Buffer, from: "client" | "server") => boolean;

export async function startProxy(target: number, cuts: Cuts = () => false): Promise<Proxy> {
  const sockets = new Set<Socket>();
  let isRefusing = false;
  let isSilent = false;
  let isMute = false;
  let delayMs = 0;
  const join = (from: Socket, to: Socket, isServer: boolean): void => {
    sockets.add(from);
    from.on("error", () => {});
    from.on("data", (data: Buffer) => {
      if (isSilent || (isMute && isServer)) return;
      if (cuts(data, isServer ? "server" : "client")) {
        from.destroy();
        to.destroy();
      } else if (delayMs === 0) to.write(data);
      else setTimeout(() => to.write(data), delayMs);
    });
    from.once("close", () => {
      sockets.delete(from);
      to.destroy();
    });
  };
  const server = createServer((near) => {
    if (isRefusing) {
      near.destroy();
      return;
    }
    const far = connect(target, "127.0.0.1");
    for (const socket of [near, far]) socket.setNoDelay(true);
    join(near, far, false);
    join(far, near, true);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" ? (address?.port ?? 0) : 0;
  const reset = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    port,
    url: `tcp://127.0.0.1:${port}`,
    reset,
    refuse(on) {
      isRefusing = on;
    },
    blackhole(on) {
      isSilent = on;
    },
    mute(on) {
      isMute = on;
    },
    delay(ms) {
      delayMs = ms;
    },
    async [Symbol.asyncDispose]() {
      reset();
      server.close();
    },
  };
}
