import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { it } from "node:test";
import { makeCertificate } from "../support/certificates.ts";
import { needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import { picoclaw, quickConfig, startPicoclaw, writeConfig } from "../support/picoclaw.ts";
import { temporaryFolder } from "../support/temporary.ts";

/** A mosquitto whose certificate, signed by itself, ends in so many days, and a home that trusts it. */
async function world(days: number) {
  const folder = await temporaryFolder();
  const at = (file: string): string => join(folder.path, file);
  await makeCertificate(folder.path, { days });
  const broker = await startMosquitto({
    files: {
      "b.crt": await readFile(at("b.crt"), "utf8"),
      "b.key": await readFile(at("b.key"), "utf8"),
    },
    lines: [
      "listener {port} 127.0.0.1",
      "allow_anonymous true",
      "certfile {folder}/b.crt",
      "keyfile {folder}/b.key",
    ],
  });
  const tls = { verify: true, ca_file: at("b.crt") };
  await writeConfig(folder.path, quickConfig(`mqtts://127.0.0.1:${broker.port}`, { tls }));
  return {
    home: folder.path,
    async [Symbol.asyncDispose](): Promise<void> {
      await broker[Symbol.asyncDispose]();
      await folder[Symbol.asyncDispose]();
    },
  };
}

it(
  "a gateway serves with a certificate that expires in ten days, and says so at its start and in --check",
  needsMosquitto,
  async () => {
    await using at = await world(10);
    await using gateway = startPicoclaw(["gateway"], at);
    await gateway.said('"msg":"connected"');
    await gateway.said(/"level":"warn","msg":"it expires on \d{4}-\d\d-\d\d, in \d+ days".*renew/);
    const { stdout, stderr } = await picoclaw(["gateway", "--check"], at);
    assert.match(stdout + stderr, /certificate of \w+'s broker.*it expires on/s);
    assert.match(stdout + stderr, /renew it/);
  },
);

it(
  "a certificate that has expired is told at the start, with every attempt, and fails --check",
  needsMosquitto,
  async () => {
    await using at = await world(-3);
    await using gateway = startPicoclaw(["gateway"], at);
    await gateway.said(/"level":"error","msg":"it expired on \d{4}-\d\d-\d\d".*renew it/);
    await gateway.said(/certificate has expired|not signed by a trusted authority/);
    const { code, stdout, stderr } = await picoclaw(["gateway", "--check"], at);
    assert.match(stdout + stderr, /it expired on/);
    assert.notEqual(code, 0);
  },
);
