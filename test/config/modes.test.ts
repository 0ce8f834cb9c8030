import assert from "node:assert/strict";
import { chmod, chown, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { modeChecks } from "../../src/config/modes.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { inHome, mqttConfig } from "./home.ts";

const isUnix = process.platform !== "win32";
const isRoot = process.geteuid?.() === 0;

async function checksOf(mode: number, name = "key"): ReturnType<typeof modeChecks> {
  await using folder = await temporaryFolder();
  const file = join(folder.path, name);
  await writeFile(file, "secret");
  await chmod(file, mode);
  return await modeChecks([file, file, join(folder.path, "missing")]);
}

describe("files that hold secrets", { skip: !isUnix }, () => {
  it("are well where their owner alone reads them", async () => {
    for (const mode of [0o600, 0o400]) {
      const [check, ...more] = await checksOf(mode);
      assert.equal(check?.result, "ok");
      assert.deepEqual(more, []);
    }
  });

  it("are warned of once each, with the command that mends it", async () => {
    for (const [mode, who] of [
      [0o644, "every user"],
      [0o604, "every user"],
      [0o640, "its group"],
      [0o660, "its group"],
    ] as const) {
      const [check, ...more] = await checksOf(mode);
      assert.equal(check?.result, "warn");
      assert.match(check.message, new RegExp(`open to ${who}.*mode ${mode.toString(8)}`));
      assert.match(check.remedy ?? "", /^chmod 600 \/.*\/key$/);
      assert.deepEqual(more, []);
    }
  });

  it("are named as a shell takes them", async () => {
    const [check] = await checksOf(0o644, "it's a key");
    assert.match(check?.remedy ?? "", /^chmod 600 '\/.*\/it'\\''s a key'$/);
  });

  it("may be another user's for root alone to see", { skip: !isRoot }, async () => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, "key");
    await writeFile(file, "secret", { mode: 0o600 });
    await chown(file, 1234, 1234);
    assert.equal((await modeChecks([file]))[0]?.result, "ok");
  });

  it("are nothing where there are none", async () => {
    assert.deepEqual(await modeChecks(["/nowhere/at/all"]), []);
  });
});

describe("a configuration names the files that hold its secrets", () => {
  const config = mqttConfig({
    password: "plain-password",
    tls: { cert_file: "tls.crt", key_file: "tls.key" },
  });

  it("config.json where one stands in it, .security.yml, files of references, keys", async () => {
    const files = {
      "config.json": { ...config, model_list: [{ model_name: "m", model: "m" }] },
      ".security.yml": "model_list: {m: {api_keys: [file://keys/one]}}",
      "keys/one": "k",
    };
    await inHome(files, async (home) => {
      const { secretFiles } = await home.loaded();
      const names = ["config.json", ".security.yml", "keys/one", "tls.key"];
      const expected = names.map((name) => join(home.path, name));
      assert.deepEqual([...new Set(secretFiles)].toSorted(), expected.toSorted());
    });
  });

  it("and not config.json where only names and ordinary headers stand in it", async () => {
    const model = { model_name: "m", model: "m", custom_headers: { Accept: "text/html" } };
    const files = { "config.json": mqttConfig({ username: "me" }, { model_list: [model] }) };
    await inHome(files, async (home) => {
      const { secretFiles } = await home.loaded();
      assert.ok(!secretFiles.includes(home.file));
    });
    model.custom_headers = Object.assign(model.custom_headers, { Authorization: "Bearer abc" });
    await inHome(files, async (home) => {
      assert.ok((await home.loaded()).secretFiles.includes(home.file));
    });
  });
});
