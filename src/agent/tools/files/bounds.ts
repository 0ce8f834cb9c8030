import { relative, sep } from "node:path";
import { isInside } from "../../inside.ts";

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
}

export type Use = "read" | "write";

/** What a program of this kind keeps its keys in; further down in a workspace the second is a project's own. */
const SECURITY = ".security.yml";
const CONFIG = "config.json";
const HOME = ".picoclaw";
/** Folders of the workspace that hold all clients' conversations: this program's, and the Go program's. */
const STATE: ReadonlySet<string> = new Set(["state", "sessions"]);
/** Memory, environment and open files of processes; the kernel's memory and log. */
const KERNEL_SECRETS = /^\/proc\/(\d+|self|thread-self|kcore|kmsg|kpage\w*|keys|key-users)(\/|$)/;
const DEVICES = /^\/dev(\/|$)/;
const KERNEL = /^\/(proc|sys|dev)(\/|$)/;

/**
 * Why a real path may not be used so, as the end of a sentence about it; undefined where it may. The
 * workspace must be a real path, too.
 */
export function refusalOf(real: string, use: Use, bounds: Bounds): string | undefined {
  if (isKept(real, bounds)) return "holds this program's own state or keys";
  if (isInside(real, bounds.workspace)) return undefined;
  if (KERNEL_SECRETS.test(real) || DEVICES.test(real) || (use === "write" && KERNEL.test(real))) {
    return "belongs to the system's devices and processes";
  }
  const patterns = use === "read" ? bounds.allowRead : bounds.allowWrite;
  if (!bounds.restrict || (use === "read" && bounds.readOutside)) return undefined;
  return patterns.some((pattern) => pattern.test(real)) ? undefined : "is outside of the workspace";
}

/** Whether a real path is one of this program's secrets, or in the folder of its state. */
export function isKept(
  real: string,
  { workspace, keyFiles }: Pick<Bounds, "workspace" | "keyFiles">,
): boolean {
  const names = real.split(sep).map(folded);
  if (names.includes(SECURITY)) return true;
  if (keyFiles.some((file) => file.split(sep).map(folded).join(sep) === names.join(sep)))
    return true;
  const isInWorkspace = isInside(real, workspace);
  const [first = "", ...deeper] = relative(workspace, real).split(sep).map(folded);
  if (isInWorkspace && STATE.has(first)) return true;
  if (!names.includes(CONFIG)) return false;
  return !isInWorkspace || deeper.length === 0 || first === CONFIG || names.includes(HOME);
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
