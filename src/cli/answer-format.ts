import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { formatOf } from "../base/answer-format.ts";
import type { AnswerFormat } from "../base/contract.ts";
import { Failure, messageOf } from "../base/failure.ts";
import type { Context } from "./context.ts";

/**
 * The format that `--format FILE` asks for, if it is given; the file has a JSON Schema. Throws a usage `Failure` if it cannot be
 * read, is not JSON, or has a schema that no gateway would accept.
 */
export async function readFormat({
  host,
  flags,
}: Pick<Context, "host" | "flags">): Promise<AnswerFormat | undefined> {
  const file = flags.text("format");
  if (file === undefined) return undefined;
  let schema: unknown;
  try {
    schema = JSON.parse(await readFile(resolve(host.cwd, file), "utf8"));
  } catch (thrown) {
    const why = messageOf(thrown);
    throw new Failure("usage", `the schema of --format cannot be read from ${file}`, { why });
  }
  const format = formatOf({ type: "json_schema", schema });
  if (typeof format !== "string") return format;
  const why = format.replace('its "format"', "--format");
  throw new Failure("usage", `${file} has no JSON Schema for an answer`, { why });
}
