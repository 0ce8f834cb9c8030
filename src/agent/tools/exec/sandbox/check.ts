import type { Check } from "../../../../base/contract.ts";
import { variable } from "../../../../base/host.ts";
import type { Config } from "../../../../config/contract.ts";
import { commandEnvironment } from "../environment.ts";
import { findBubblewrap } from "./bubblewrap.ts";
import { isRoot } from "./command-user.ts";

const NAME = "commands";
const INSTALL = "apt-get install bubblewrap";
const FULL =
  "that is full access to all that this program's user may do and read, its keys included";

/** What commands can reach, and who may have them run; undefined where there is no exec. */
export async function commandCheck(
  { agents, tools }: Pick<Config, "agents" | "tools">,
  read = variable,
): Promise<Check | undefined> {
  if (tools.off.has("exec")) return undefined;
  const { sandbox, allow_network } = tools.exec;
  const isRemote = mayClientsRun(tools);
  const who = isRemote ? "clients of MQTT may run commands" : "commands are for this machine";
  if (sandbox === "none") return unsandboxedCheck(who, isRemote);
  const found = await findBubblewrap(pathOf(agents, read));
  if ("program" in found) {
    const network = allow_network ? "with" : "without";
    return { name: NAME, result: "ok", message: `${who}, in a sandbox ${network} network` };
  }
  const isFault = sandbox === "bwrap";
  const kept = isRemote ? "; clients of MQTT may run none, for they need the sandbox" : "";
  return {
    name: NAME,
    result: isFault ? "fail" : "warn",
    message: isFault
      ? `no command can run: tools.exec.sandbox is bwrap, and ${found.why}`
      : `commands are for this machine, without a sandbox${asRoot()}: ${found.why}${kept}`,
    remedy: found.isInstalled
      ? "let this user have user namespaces, or set tools.exec.enabled to false"
      : INSTALL,
  };
}

/** Whether commands of clients run as the owner wants them to: in a sandbox, unless that is `none`. */
export async function clientsAreSandboxed(
  { agents, tools }: Pick<Config, "agents" | "tools">,
  read = variable,
): Promise<boolean> {
  // Looking for it takes two processes.
  const isAsked = !tools.off.has("exec") && mayClientsRun(tools);
  if (!isAsked || tools.exec.sandbox === "none") return true;
  return "program" in (await findBubblewrap(pathOf(agents, read)));
}

/** Whether the program has more rights than it needs; undefined where it is not root. */
export function rootCheck(): Check | undefined {
  if (!isRoot()) return undefined;
  return {
    name: "user",
    result: "warn",
    message: "this program runs as root: a fault of it is one of the whole machine",
    remedy: "give it a user of its own: User= of its unit",
  };
}

function pathOf({ defaults }: Config["agents"], read: typeof variable): string {
  return commandEnvironment(read, defaults.workspace)["PATH"] ?? "";
}

function mayClientsRun({ profiles, exec }: Config["tools"]): boolean {
  if (exec.allow_remote !== undefined) return exec.allow_remote;
  return profiles.some(({ tools }) => tools.includes("exec") || tools.includes("*"));
}

/** The owner wants none: it is told where others, or root, gain from it. */
function unsandboxedCheck(who: string, isRemote: boolean): Check {
  const message = `${who}, without a sandbox${asRoot()}: tools.exec.sandbox is none; ${FULL}`;
  if (!isRemote && !isRoot()) return { name: NAME, result: "ok", message };
  return { name: NAME, result: "warn", message, remedy: "set tools.exec.sandbox to auto" };
}

function asRoot(): string {
  return isRoot() ? ", as root" : "";
}
