import { mkdir, mkdtemp, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { FilePermissions } from "../../src/agent/access/permissions.ts";
import type { Tool } from "../../src/agent/tools/contract.ts";
import { createFileTools } from "../../src/agent/tools/files/file-tools.ts";
import type { FileToolOptions } from "../../src/agent/tools/files/file-tools.ts";
import { runTool } from "../../src/agent/tools/run.ts";
import { callContext, toolSettings } from "./agent-config.ts";

type Options = Partial<FileToolOptions> & { readonly permissions?: FilePermissions };

/** A workspace, and a folder outside of it. */
export interface TestWorkspace extends AsyncDisposable {
  /** Real paths. */
  readonly workspace: string;
  readonly outside: string;
  tools(options?: Options): readonly Tool[];
}

export async function createTestWorkspace(): Promise<TestWorkspace> {
  const root = await realpath(await mkdtemp(join(tmpdir(), "picoclaw-files-")));
  const [workspace, outside] = [join(root, "workspace"), join(root, "outside")];
  await Promise.all([mkdir(workspace), mkdir(outside)]);
  return {
    workspace,
    outside,
    tools: ({ permissions, ...options } = {}) =>
      createFileTools({
        workspace,
        settings: toolSettings(),
        restrict: true,
        readOutside: false,
        ...options,
      })(permissions),
    [Symbol.asyncDispose]: () => rm(root, { recursive: true, force: true }),
  };
}

/** What a model gets for a call. */
export async function called(
  tools: readonly Tool[],
  name: string,
  input: Readonly<Record<string, unknown>>,
): Promise<string> {
  const call = { id: "1", name, arguments: JSON.stringify(input) };
  return await runTool(call, { tools, ...callContext() });
}
