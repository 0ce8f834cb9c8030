import { jsonLine } from "../../base/escape-control.ts";
import { VERSION } from "../../base/version.ts";
import type { Context } from "../context.ts";

/** `picoclaw version`: which program this is and what it runs on; with --licenses what it is made of. */
export async function run({ host, flags }: Context): Promise<number> {
  const { runtime, platform } = host;
  if (flags.has("licenses")) {
    await host.stdout.write(await licensesShown(flags.has("json")));
    return 0;
  }
  await host.stdout.write(
    flags.has("json")
      ? jsonLine({ v: 1, type: "version", version: VERSION, runtime, platform })
      : `picoclaw ${VERSION} (${runtime}, ${platform})\n`,
  );
  return 0;
}

async function licensesShown(isJson: boolean): Promise<string> {
  const { licenses, licensesText } = await import("../licenses/licenses.ts");
  const all = await licenses();
  if (!isJson) return licensesText(all);
  return all.map((one) => jsonLine({ v: 1, type: "license", ...one })).join("");
}
