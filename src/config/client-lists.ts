import type { Findings } from "./findings.ts";
import { quotable } from "./problem.ts";
import type { Path } from "./tree.ts";

/** Lists of client ids beside a channel's settings. */
export const CLIENT_LISTS = ["allow_from", "deny_from", "admin_from"] as const;

/** Warns of entries that mean no client: they are compared with the level of the topic as they stand. */
export function checkClients(clients: readonly string[], path: Path, findings: Findings): void {
  for (const [index, client] of clients.entries()) {
    const fault = faultOf(client);
    if (fault === undefined) continue;
    const { text, meant } = fault;
    const remedy = meant === "" ? "write the client id itself" : `write "${quotable(meant)}"`;
    findings.warn([...path, index], `"${quotable(client)}" ${text}`, remedy);
  }
}

interface Fault {
  readonly text: string;
  /** What may be meant; empty where nothing can be guessed. */
  readonly meant: string;
}

function faultOf(client: string): Fault | undefined {
  if (client === "" || client === "*") return undefined;
  const trimmed = client.trim();
  if (trimmed !== client) {
    return { text: "has blanks around it, which are a part of the client id here", meant: trimmed };
  }
  if (/[/+#\p{Cc}]/u.test(client)) {
    return { text: "can never be a client id: that is one level of a topic", meant: "" };
  }
  if (/[*?]/.test(client)) {
    return { text: "is no pattern here: it means the client of exactly this id", meant: "" };
  }
  if (client.startsWith("mqtt:")) {
    const meant = client.slice("mqtt:".length);
    return { text: "means the client of exactly this id, mqtt: and all", meant };
  }
  if (client.startsWith("@")) {
    return { text: "means the client of exactly this id, @ and all", meant: client.slice(1) };
  }
  if (client.includes("|")) {
    const [meant = ""] = client.split("|");
    return { text: "means the client of exactly this id, not the part before |", meant };
  }
  return undefined;
}
