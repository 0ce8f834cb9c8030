import { Failure } from "../../base/failure.ts";
import type { Context } from "../context.ts";
import { install, status, thisMachine, uninstall } from "../service/service.ts";

const SUBCOMMANDS = new Map([
  ["install", install],
  ["uninstall", uninstall],
  ["status", status],
]);

/** `picoclaw service install|uninstall|status`. */
export async function run(context: Context): Promise<number> {
  const [subcommand = "", extra] = context.words;
  const subrun = SUBCOMMANDS.get(subcommand);
  if (subrun === undefined || extra !== undefined) {
    throw new Failure("usage", `service: unexpected argument "${extra ?? subcommand}"`);
  }
  return subrun(context, thisMachine());
}
