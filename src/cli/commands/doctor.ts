import { resolve } from "node:path";
import { Failure } from "../../base/failure.ts";
import type { Context } from "../context.ts";
import { examineAndPrint, summaryOf } from "../doctor/report.ts";
import { failedResult, resultLine } from "../report.ts";

/** `picoclaw doctor`: checks everything that a gateway needs; 1 if a check fails. */
export async function run(context: Context): Promise<number> {
  const { host, flags, redactor } = context;
  const { found, loaded } = await examineAndPrint(context);
  const bundle = flags.text("bundle");
  if (bundle !== undefined) {
    const { writeBundle } = await import("../doctor/bundle.ts");
    const file = resolve(host.cwd, bundle);
    await writeBundle(file, { host, redactor, found, configFile: loaded?.file });
    await host.stderr.write(`note: wrote ${bundle}; look into it before you hand it on\n`);
  }
  const hasFailed = found.some(({ result }) => result === "fail");
  if (flags.has("json")) {
    const result = hasFailed
      ? failedResult(new Failure("failed", summaryOf(found)))
      : { outcome: "ok", exit: 0 };
    await host.stdout.write(resultLine(result, redactor));
  }
  return hasFailed ? 1 : 0;
}
