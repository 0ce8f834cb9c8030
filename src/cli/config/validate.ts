import { escapeControl, jsonLine } from "../../base/escape-control.ts";
import { Failure } from "../../base/failure.ts";
import { SILENT } from "../../base/log.ts";
import type { Config, LoadedConfig } from "../../config/contract.ts";
import { problemLines } from "../../config/findings.ts";
import { configFlagsOf, inspect, nothingToServe } from "../connection.ts";
import type { Context } from "../context.ts";
import { exitCodeOf } from "../exit-codes.ts";

interface Finding {
  readonly severity: "error" | "warning";
  readonly message: string;
  readonly try?: string | undefined;
}

/** `picoclaw config validate`: prints all findings; exit 78 if one is an error. */
export async function validate(context: Context): Promise<number> {
  const { host, flags, redactor } = context;
  const { file, findings } = await findingsOf(context);
  const errors = findings.filter(({ severity }) => severity === "error").length;
  for (const one of findings) {
    const line = flags.has("json") ? jsonLine({ v: 1, type: "finding", ...one }) : findingText(one);
    await host.stdout.write(redactor.redact(line));
  }
  if (!flags.has("json")) {
    const warnings = findings.length - errors;
    const verdict = errors === 0 ? "is valid" : "is not valid";
    const counts = `${countOf(errors, "error")}, ${countOf(warnings, "warning")}`;
    await host.stdout.write(escapeControl(`${file} ${verdict}: ${counts}`) + "\n");
  }
  return errors === 0 ? 0 : exitCodeOf({ code: "config" });
}

async function findingsOf(context: Context): Promise<{
  readonly file: string;
  readonly findings: readonly Finding[];
}> {
  const inspection = await inspect(context, configFlagsOf(context.flags));
  if (inspection instanceof Failure) {
    if (inspection.code !== "config") throw inspection;
    return { file: "the configuration", findings: [errorOf(inspection)] };
  }
  const { problems, warnings, refusal, file, config } = inspection;
  const errors = problemLines(problems).map((message): Finding => ({ severity: "error", message }));
  return {
    file,
    findings: [
      ...errors,
      ...(refusal ? [errorOf(refusal)] : []),
      ...(config ? await modelErrors(config) : []),
      ...warnings.map(({ message, remedy }): Finding => {
        return { severity: "warning", message, try: remedy };
      }),
      ...(problems.length === 0 && config?.channels.length === 0
        ? [nothingServed({ ...inspection, config })]
        : []),
    ],
  };
}

/** No error: `agent` and `try` need no channel. */
function nothingServed(loaded: LoadedConfig): Finding {
  return { ...errorOf(nothingToServe(loaded)), severity: "warning" };
}

/** The model that is named cannot be called as it is configured: a gateway would not start. */
async function modelErrors(config: Config): Promise<readonly Finding[]> {
  if (config.model_list.length === 0) return [];
  const { openModels } = await import("../../agent/model/models.ts");
  try {
    await openModels({ config, fetch: globalThis.fetch, log: SILENT })?.close();
    return [];
  } catch (thrown) {
    if (!(thrown instanceof Failure) || thrown.code !== "config") throw thrown;
    return [errorOf(thrown)];
  }
}

function errorOf({ message, why, remedy }: Failure): Finding {
  return {
    severity: "error",
    message: why === undefined ? message : `${message}: ${why}`,
    try: remedy,
  };
}

function findingText({ severity, message, try: remedy }: Finding): string {
  const text = escapeControl(`${severity}: ${message}`);
  return `${text}\n${remedy === undefined ? "" : `  try: ${escapeControl(remedy)}\n`}`;
}

function countOf(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}
