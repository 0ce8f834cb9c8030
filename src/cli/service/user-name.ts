import { readFileSync } from "node:fs";
import { userInfo } from "node:os";

/**
 * The name of this user, by its id: Bun's `userInfo` believes the variable USER, and is "unknown" without it. "" if
 * the machine does not know the user, as in a container.
 */
export function userName(): string {
  try {
    const { uid, username } = userInfo();
    return nameInPasswd(uid) ?? (username === "unknown" ? "" : username);
  } catch {
    return "";
  }
}

/** Undefined for a user of a directory service. */
function nameInPasswd(uid: number): string | undefined {
  const fields = readFileSync("/etc/passwd", "utf8")
    .split("\n")
    .map((line) => line.split(":"));
  return fields.find(([, , id]) => id === String(uid))?.[0];
}
