import { findBubblewrap } from "../../src/agent/tools/exec/cage/bubblewrap.ts";

const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** What `node:test` takes for the tests that need bubblewrap. */
export async function withBubblewrap(): Promise<{ readonly skip: string | false }> {
  const found = await findBubblewrap(PATH);
  return { skip: "program" in found ? false : found.why };
}
