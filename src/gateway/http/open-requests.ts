/** Requests at a time; answers of the agent are among them. One client leaves half of them to the others. */
const MOST = { ofAll: 16, ofClient: 8 };

/** Counts open requests: returns what ends one, or undefined if this client has too many, or all together. */
export function createOpenRequests(): (client: string) => (() => void) | undefined {
  const open = new Map<string, number>();
  let all = 0;
  return (client) => {
    const own = open.get(client) ?? 0;
    if (all >= MOST.ofAll || own >= MOST.ofClient) return undefined;
    all += 1;
    open.set(client, own + 1);
    return () => {
      all -= 1;
      const left = (open.get(client) ?? 1) - 1;
      if (left === 0) open.delete(client);
      else open.set(client, left);
    };
  };
}
