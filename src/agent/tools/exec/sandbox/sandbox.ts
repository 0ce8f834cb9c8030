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
  /** The configuration's file. The folder around it is hidden. */
  readonly configFile?: string;
  /** Other files and folders with keys. */
  readonly secretFiles: readonly string[];
  /** The variable PATH. */
  readonly path: string;
  /** Whether the command is a client's, which needs a sandbox unless the owner wrote `none`. */
  readonly isRemote: boolean;
  /** What the client's commands reach outside of the workspace, and what they cannot change. */
  readonly paths: CommandPaths;
}

/** The sandbox of a command; undefined if it runs without one. Throws a `FileError` if it needs one and has none. */
export async function sandboxFor(options: SandboxOptions): Promise<Sandbox | undefined> {
  const { workspace, settings, configFile, path, paths } = options;
  const bubblewrap = await bubblewrapFor(options);
  if (bubblewrap === undefined) return undefined;
  const network = settings.allow_network;
  const mounts = await mountsOf({
    workspace,
    homes: homeFolders(),
    secrets: secretPaths(options),
    path,
    ...paths,
    readable: [
      ...paths.readable,
      ...(configFile === undefined ? [] : [join(dirname(configFile), "skills")]),
    ],
    network,
  });
  const { program, user } = bubblewrap;
  if (user !== undefined) await chownWorkspace({ program, user }, workspace, mounts);
  const note = `it ran in a sandbox: only the workspace and /tmp are writable${network ? "" : ", there is no network"}, homes and services are out of reach`;
  return { args: sandboxArgs(bubblewrap, mounts, network), note };
}

/** The bubblewrap that the settings ask for; undefined without one. */
async function bubblewrapFor(options: SandboxOptions): Promise<Bubblewrap | undefined> {
  const { settings, path, isRemote } = options;
  if (settings.sandbox === "none") return undefined;
  const found = await findBubblewrap(path);
  if ("program" in found) return found;
  if (settings.sandbox === "bwrap") {
    throw new FileError(
      `no command is run: tools.exec.sandbox is bwrap, and ${found.why}; the owner can install bubblewrap or set tools.exec.sandbox`,
    );
  }
  if (!isRemote) return undefined;
  throw new FileError(
    "no command is run: commands of clients run only in a sandbox, and bubblewrap does not work here; the owner can install it",
  );
}

function homeFolders(): readonly string[] {
  // The variable HOME and the list of users may differ.
  try {
    return [...new Set([homedir(), userInfo().homedir])];
  } catch {
    return [homedir()];
  }
}

/** The configuration's files, and their folder unless it is the system's or the workspace. */
function secretPaths({ configFile, secretFiles, workspace }: SandboxOptions): readonly string[] {
  if (configFile === undefined) return secretFiles;
  const folder = dirname(configFile);
  const isOwn = !/^\/(?:etc|opt|srv|usr|var)?$/.test(folder) && folder !== workspace;
  const files = [...secretFiles, configFile, join(folder, ".security.yml")];
  return isOwn ? [folder, ...files] : files;
}
