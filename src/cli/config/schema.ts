import { configSchema } from "../../config/json-schema.ts";
import type { Context } from "../context.ts";

/** `picoclaw config schema`: a JSON Schema for editors. */
export async function schema({ host }: Context): Promise<number> {
  await host.stdout.write(`${JSON.stringify(configSchema(), undefined, 2)}\n`);
  return 0;
}
