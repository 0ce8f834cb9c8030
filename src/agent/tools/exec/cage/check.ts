import type { Check } from "../../../../base/check.ts";
import { variable } from "../../../../base/host.ts";
import type { Config } from "../../../../config/contract.ts";
import { commandEnvironment } from "../environment.ts";
import { findBubblewrap } from "./bubblewrap.ts";
import { isRoot } from "./user.ts";

const NAME = "commands";
const INSTALL = "apt-get install bubblewrap";

/** What commands can reach, and who may have them run; undefined where there is no exec. */
export async function commandCheck(
  { agents, tools }: Pick<Config, "agents" | "tools">,
  read = variable,
): Promise<Check | undefined> {
  if (tools.off.has("exec")) return undefined;
  const { sandbox, allow_network } = tools.exec;
  const isRemote = mayClientsRun(tools);
  const who = isRemote ? "clients of MQTT may run commands" : "commands are for this machine";
  if (sandbox === "none") return uncaged(who, isRemote);
  const { PATH = "" } = commandEnvironment(read, agents.defaults.workspace);
  const found = await findBubblewrap(PATH);
  if ("program" in found) {
    const network = allow_network ? "with" : "without";
    return { name: NAME, result: "ok", message: `${who}, in a sandbox ${network} network` };
  }
  const isFault = sandbox === "bwrap";
  return {
    name: NAME,
    result: isFault ? "fail" : "warn",
    message: isFault
      ? `no command can run: tools.exec.sandbox is bwrap, and ${found.why}`
      : `${who}, without a sandbox${asRoot()}: ${found.why}`,
    remedy: found.isInstalled
      ? "let this user have user namespaces, or set tools.exec.enabled to false"
      : INSTALL,
  };
}

function mayClientsRun({ profiles, exec }: Config["tools"]): boolean {
  if (exec.allow_remote !== undefined) return exec.allow_remote;
  return profiles.some(({ tools }) => tools.includes("exec") || tools.includes("*"));
}

/** The owner wants none: it is told where others, or root, gain from it. */
function uncaged(who: string, isRemote: boolean): Check {
  const message = `${who}, without a sandbox${asRoot()}: tools.exec.sandbox is none`;
  if (!isRemote && !isRoot()) return { name: NAME, result: "ok", message };
  return { name: NAME, result: "warn", message, remedy: "set tools.exec.sandbox to auto" };
}

function asRoot(): string {
  return isRoot() ? ", as root" : "";
}
