import { jsonLine } from "../../base/json.ts";
import { VERSION } from "../../base/version.ts";
import type { Context } from "../context.ts";

/** `picoclaw version`: which program this is and what it runs on. */
export async function run({ host, flags }: Context): Promise<number> {
  const { runtime, platform } = host;
  await host.stdout.write(
    flags.has("json")
      ? jsonLine({ v: 1, type: "version", version: VERSION, runtime, platform })
      : `picoclaw ${VERSION} (${runtime}, ${platform})\n`,
  );
  return 0;
}
