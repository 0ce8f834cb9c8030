import assert from "node:assert/strict";
import { mountsOf } from "../../src/agent/tools/exec/sandbox/mounts.ts";
import { sandboxArgs, findBubblewrap } from "../../src/agent/tools/exec/sandbox/sandbox.ts";

const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** What `node:test` takes for the tests that need bubblewrap. */
export async function withBubblewrap(): Promise<{ readonly skip: string | false }> {
  const found = await findBubblewrap(PATH);
  return { skip: "program" in found ? false : found.why };
}

/** Words before a command, to be run by root, that put it into the sandbox of a user who is not. */
export async function ordinarySandboxArgs(workspace: string): Promise<readonly string[]> {
  const found = await findBubblewrap(PATH);
  assert.ok("program" in found);
  const { program, options } = found;
  const mounts = await mountsOf({
    workspace,
    homes: [],
    secrets: [],
    path: PATH,
    readable: [],
    writable: [],
    readOnly: [],
    network: false,
  });
  const ids = "setpriv --reuid=65534 --regid=65534 --clear-groups --".split(" ");
  return [...ids, ...sandboxArgs({ program, options }, mounts, false)];
}
