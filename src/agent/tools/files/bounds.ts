import { relative, sep } from "node:path";
import { isInside } from "../../../base/path-contains.ts";
import type { FilePermissions } from "../../access/permissions.ts";
import {
  CLIENT_MEMORIES,
  KEY_FILES,
  OWNER_FILES,
  STATE_FOLDERS,
} from "../../workspace/contract.ts";

/** Where the file tools may read and write. Patterns match real paths. */
export interface Bounds {
  readonly workspace: string;
  /** Reading and writing stay inside the workspace. */
  readonly restrict: boolean;
  /** Reading may leave the workspace even if `restrict` is set. */
  readonly readOutside: boolean;
  readonly allowRead: readonly RegExp[];
  readonly allowWrite: readonly RegExp[];
  /** Real paths of the files that hold this program's keys. */
  readonly keyFiles: readonly string[];
  /** The further limits of the caller; absent if there are none. */
  readonly permissions?: FilePermissions | undefined;
}

/** `edit` needs both reading and writing. */
export type Use = "read" | "write" | "edit";

const HOME = ".picoclaw";
/** Memory, environment and open files of processes; the kernel's memory and log. */
const KERNEL_SECRETS = /^\/proc\/(\d+|self|thread-self|kcore|kmsg|kpage\w*|keys|key-users)(\/|$)/;
const DEVICES = /^\/dev(\/|$)/;
const KERNEL = /^\/(proc|sys|dev)(\/|$)/;

/**
 * Why a real path may not be used, as the end of a sentence about the path; undefined if it may. The
 * workspace and the paths of the permissions must be real paths too. The owner wrote the permissions, so
 * what they name outside of the workspace needs no other permission.
 */
export function refusalOf(real: string, use: Use, bounds: Bounds): string | undefined {
  if (isProtected(real, bounds)) return "holds this program's own state or keys";
  const isGranted = bounds.permissions !== undefined && isWithin(real, use, bounds.permissions);
  if (bounds.permissions !== undefined && !isGranted) return "is not open to this client";
  if (isGranted && use !== "read" && !isNamed(real, bounds)) {
    return "holds the owner's instructions to the agent, and no profile names it for this client";
  }
  if (isInside(real, bounds.workspace)) return undefined;
  if (isOfSystem(real, use)) return "belongs to the system's devices and processes";
  if (isGranted || isAllowedOutside(real, use, bounds)) return undefined;
  return "is outside of the workspace";
}

function isOfSystem(real: string, use: Use): boolean {
  if (KERNEL_SECRETS.test(real) || DEVICES.test(real)) return true;
  return use !== "read" && KERNEL.test(real);
}

function isAllowedOutside(real: string, use: Use, bounds: Bounds): boolean {
  if (!bounds.restrict || (use === "read" && bounds.readOutside)) return true;
  const patterns = use === "read" ? bounds.allowRead : bounds.allowWrite;
  return patterns.some((pattern) => pattern.test(real));
}

const OWNERS: ReadonlySet<string> = new Set(OWNER_FILES.map(folded));

/** Whether the permissions name an owner's file itself, and not only the folder around it. True for other files. */
function isNamed(real: string, { workspace, permissions }: Bounds): boolean {
  const ownerOf = (path: string): string | undefined => {
    if (!isInside(path, workspace)) return undefined;
    const [first = ""] = relative(workspace, path).split(sep).map(folded);
    return OWNERS.has(first) ? first : undefined;
  };
  const owner = ownerOf(real);
  if (owner === undefined || permissions === undefined) return true;
  return permissions.write.some((path) => isInside(real, path) && ownerOf(path) === owner);
}

function isWithin(real: string, use: Use, permissions: FilePermissions): boolean {
  const uses = use === "edit" ? (["read", "write"] as const) : [use];
  return uses.every((one) => permissions[one].some((folder) => isInside(real, folder)));
}

/** Whether a real path is one of this program's secrets, or lies in the folder of its state. */
export function isProtected(
  real: string,
  { workspace, keyFiles }: Pick<Bounds, "workspace" | "keyFiles">,
): boolean {
  const names = real.split(sep).map(folded);
  const { config, security } = KEY_FILES;
  if (names.includes(security)) return true;
  if (keyFiles.some((file) => file.split(sep).map(folded).join(sep) === names.join(sep)))
    return true;
  if (!isInside(real, workspace)) return names.includes(config);
  const [first = "", ...deeper] = relative(workspace, real).split(sep).map(folded);
  if (STATE_FOLDERS.includes(first) || `${first}/${deeper[0]}` === CLIENT_MEMORIES) return true;
  // Deeper in a workspace, a `config.json` belongs to a project.
  if (!names.includes(config)) return false;
  return deeper.length === 0 || first === config || names.includes(HOME);
}

/**
 * A name as the most lenient file system compares it: without case, Unicode forms, zero-width characters
 * (HFS+), trailing dots and blanks, streams (NTFS).
 */
function folded(name: string): string {
  return name
    .normalize("NFKC")
    .replace(/[\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]/g, "")
    .toLowerCase()
    .replace(/:.*$/s, "")
    .replace(/[. ]+$/, "");
}
