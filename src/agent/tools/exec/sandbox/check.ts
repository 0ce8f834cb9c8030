import type { Check } from "../../../../base/contract.ts";
import { variable } from "../../../../base/host.ts";
import type { Config } from "../../../../config/contract.ts";
import { mayClientsRun } from "../../../access/permissions.ts";
import { commandEnvironment } from "../environment.ts";
import { isRoot } from "./command-user.ts";
import { findBubblewrap } from "./sandbox.ts";

const NAME = "commands";
const INSTALL = "apt-get install bubblewrap";
const FULL =
  "they have full access to all that this program's user may do and read, its keys included";

/** Checks who may run commands, and in which sandbox; undefined without exec. */
export async function commandCheck(
  { agents, tools }: Pick<Config, "agents" | "tools">,
  read = variable,
): Promise<Check | undefined> {
  if (tools.off.has("exec")) return undefined;
  const { sandbox, allow_network } = tools.exec;
  const isRemote = mayClientsRun(tools);
  const subject = isRemote
    ? "MQTT clients may run commands"
    : "only you, at this machine, may run commands";
  if (sandbox === "none") return unsandboxedCheck(subject, isRemote);
  const found = await findBubblewrap(pathOf(agents, read));
  if ("program" in found) {
    const network = allow_network ? "with" : "without";
    return { name: NAME, result: "ok", message: `${subject}, in a sandbox ${network} network` };
  }
  const isFault = sandbox === "bwrap";
  const refused = isRemote ? "; MQTT clients may run none, because they need the sandbox" : "";
  return {
    name: NAME,
    result: isFault ? "fail" : "warn",
    message: isFault
      ? `no command can run: tools.exec.sandbox is bwrap, and ${found.why}`
      : `only you, at this machine, may run commands, without a sandbox${asRoot()}: ${found.why}${refused}`,
    remedy: found.isInstalled
      ? "allow user namespaces for this user, or set tools.exec.enabled to false"
      : INSTALL,
  };
}

/** Whether commands of clients, who may run some, run in a sandbox, or the owner wants none. */
export async function clientsAreSandboxed(
  { agents, tools }: Pick<Config, "agents" | "tools">,
  read = variable,
): Promise<boolean> {
  if (tools.exec.sandbox === "none") return true;
  return "program" in (await findBubblewrap(pathOf(agents, read)));
}

/** Warns if the program has more rights than it needs; undefined if it is not root. */
export function rootCheck(): Check | undefined {
  if (!isRoot()) return undefined;
  return {
    name: "user",
    result: "warn",
    message: "this program runs as root: a fault in it affects the whole machine",
    remedy: "give it a user of its own: User= in its unit",
  };
}

function pathOf({ defaults }: Config["agents"], read: typeof variable): string {
  return commandEnvironment(read, defaults.workspace)["PATH"] ?? "";
}

/** The owner wants no sandbox: a warning if clients may run commands, or the program is root. */
function unsandboxedCheck(subject: string, isRemote: boolean): Check {
  const message = `${subject}, without a sandbox${asRoot()}: tools.exec.sandbox is none; ${FULL}`;
  if (!isRemote && !isRoot()) return { name: NAME, result: "ok", message };
  return { name: NAME, result: "warn", message, remedy: "set tools.exec.sandbox to auto" };
}

function asRoot(): string {
  return isRoot() ? ", as root" : "";
}
