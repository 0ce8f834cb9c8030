import { createHost } from "./base/host.ts";
import { VERSION } from "./base/version.ts";

const host = createHost();
await host.stdout.write(`picoclaw ${VERSION}\n`);
