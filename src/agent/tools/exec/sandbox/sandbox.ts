import { homedir, userInfo } from "node:os";
import { dirname, join } from "node:path";
import type { ExecSettings } from "../../../../config/contract.ts";
import { FileError } from "../../files/errors.ts";
import type { Sandbox } from "../command.ts";
import { sandboxArgs, findBubblewrap } from "./bubblewrap.ts";
import type { Bubblewrap } from "./bubblewrap.ts";
import { chownWorkspace } from "./command-user.ts";
import type { CommandPaths } from "./mounts.ts";
import { mountsOf } from "./mounts.ts";

export interface SandboxOptions {
  /** Real path. */
  readonly workspace: string;
  readonly settings: Pick<ExecSettings, "sandbox" | "allow_network">;
  /** The configuration's file: the folder around it is not seen. */
  readonly configFile?: string;
  /** Other files and folders with keys. */
  readonly secretFiles: readonly string[];
  readonly path: string;
  /** What who asks may reach beside, and not change. */
  readonly extent: CommandPaths;
}

/**
 * The words before a command that put it into a sandbox; undefined where it runs without one. Throws a
 * `FileError` where it must have one and cannot.
 */
export async function sandboxFor(options: SandboxOptions): Promise<Sandbox | undefined> {
  const { workspace, settings, configFile, path, extent } = options;
  const bubblewrap = await bubblewrapFor(settings, path);
  if (bubblewrap === undefined) return undefined;
  const network = settings.allow_network;
  const mounts = await mountsOf({
    workspace,
    homes: homeFolders(),
    secrets: secretPaths(options),
    path,
    ...extent,
    readable: [
      ...extent.readable,
      ...(configFile === undefined ? [] : [join(dirname(configFile), "skills")]),
    ],
    network,
  });
  const { program, user } = bubblewrap;
  if (user !== undefined) await chownWorkspace({ program, user }, workspace, mounts);
  const note = `it ran in a sandbox: only the workspace and /tmp can be written${network ? "" : ", there is no network"}, homes and services are out of reach`;
  return { words: sandboxArgs(bubblewrap, mounts, network), note };
}

/** The sandbox that the settings ask for and the machine has. */
async function bubblewrapFor(
  { sandbox }: SandboxOptions["settings"],
  path: string,
): Promise<Bubblewrap | undefined> {
  if (sandbox === "none") return undefined;
  const found = await findBubblewrap(path);
  if ("program" in found) return found;
  if (sandbox === "auto") return undefined;
  throw new FileError(
    `no command is run: tools.exec.sandbox is bwrap, and ${found.why}; the owner can install bubblewrap or set tools.exec.sandbox`,
  );
}

function homeFolders(): readonly string[] {
  // The variable HOME may name another than the list of users.
  try {
    return [...new Set([homedir(), userInfo().homedir])];
  } catch {
    return [homedir()];
  }
}

/** The folder of the configuration, unless it is the system's or the workspace; and the file itself. */
function secretPaths({ configFile, secretFiles, workspace }: SandboxOptions): readonly string[] {
  if (configFile === undefined) return secretFiles;
  const folder = dirname(configFile);
  const isOwn = !/^\/(?:etc|opt|srv|usr|var)?$/.test(folder) && folder !== workspace;
  const files = [...secretFiles, configFile, join(folder, ".security.yml")];
  return isOwn ? [folder, ...files] : files;
}
