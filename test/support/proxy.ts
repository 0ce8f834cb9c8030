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
}

export async function startProxy(target: number): Promise<Proxy> {
  const sockets = new Set<Socket>();
  let isRefusing = false;
  let isSilent = false;
  let isMute = false;
  const join = (from: Socket, to: Socket, isServer: boolean): void => {
    sockets.add(from);
    from.on("error", () => {});
    from.on("data", (data) => {
      if (!isSilent && !(isMute && isServer)) to.write(data);
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
    async [Symbol.asyncDispose]() {
      reset();
      server.close();
    },
  };
}
