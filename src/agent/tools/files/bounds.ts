import { relative, sep } from "node:path";
import { isInside } from "../../../base/path-contains.ts";
import type { FilePermissions } from "../../access/permissions.ts";
import { OWNER_FILES } from "../../workspace/contract.ts";

/** Where the file tools may read and write; patterns are matched against real paths. */
export interface Bounds {
  readonly workspace: string;
  /** Whether reading and writing stay inside the workspace. */
  readonly restrict: boolean;
  /** Whether reading may leave it all the same. */
  readonly readOutside: boolean;
  readonly allowRead: readonly RegExp[];
  readonly allowWrite: readonly RegExp[];
  /** Real paths of the files that hold this program's keys, whatever they are called. */
  readonly keyFiles: readonly string[];
  /** To what who asks is kept beside all of that; absent is to nothing more. */
  readonly permissions?: FilePermissions;
}

/** To change a passage is to read it, too. */
export type Use = "read" | "write" | "edit";

/** What a program of this kind keeps its keys in; further down in a workspace the second is a project's own. */
const SECURITY = ".security.yml";
const CONFIG = "config.json";
const HOME = ".picoclaw";
/** Folders of the workspace that hold all clients' conversations: this program's, and the Go program's. */
const STATE: ReadonlySet<string> = new Set(["state", "sessions"]);
/** What single clients have had remembered; each of them reads its own alone. */
const MEMORIES = ["memory", "clients"] as const;
/** Memory, environment and open files of processes; the kernel's memory and log. */
const KERNEL_SECRETS = /^\/proc\/(\d+|self|thread-self|kcore|kmsg|kpage\w*|keys|key-users)(\/|$)/;
const DEVICES = /^\/dev(\/|$)/;
const KERNEL = /^\/(proc|sys|dev)(\/|$)/;

/**
 * Why a real path may not be used so, as the end of a sentence about it; undefined where it may. The
 * workspace and the paths of the permissions must be real paths, too. What the permissions name outside of the
 * workspace was named by the owner, and needs no other permission.
 */
export function refusalOf(real: string, use: Use, bounds: Bounds): string | undefined {
  if (isProtected(real, bounds)) return "holds this program's own state or keys";
  const isGranted = bounds.permissions !== undefined && isWithin(real, use, bounds.permissions);
  if (bounds.permissions !== undefined && !isGranted) return "is not open to this client";
  if (isGranted && use !== "read" && !isNamed(real, bounds)) {
    return "is the owner's word to the agent, and no profile names it for this client";
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

/** Whether what is the owner's own is named by the permissions as such, and not only the folder around it. */
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

/** Whether a real path is one of this program's secrets, or in the folder of its state. */
export function isProtected(
  real: string,
  { workspace, keyFiles }: Pick<Bounds, "workspace" | "keyFiles">,
): boolean {
  const names = real.split(sep).map(folded);
  if (names.includes(SECURITY)) return true;
  if (keyFiles.some((file) => file.split(sep).map(folded).join(sep) === names.join(sep)))
    return true;
  if (!isInside(real, workspace)) return names.includes(CONFIG);
  const [first = "", ...deeper] = relative(workspace, real).split(sep).map(folded);
  if (STATE.has(first) || (first === MEMORIES[0] && deeper[0] === MEMORIES[1])) return true;
  if (!names.includes(CONFIG)) return false;
  return deeper.length === 0 || first === CONFIG || names.includes(HOME);
}

/**
 * A name as the most forgiving file system compares it: without case, Unicode forms, characters of no
 * width (HFS+), trailing dots and blanks, streams (NTFS).
 */
function folded(name: string): string {
  return name
    .normalize("NFKC")
    .replace(/[\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]/g, "")
    .toLowerCase()
    .replace(/:.*$/s, "")
    .replace(/[. ]+$/, "");
}
