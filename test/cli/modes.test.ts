import assert from "node:assert/strict";
import { chmod, chown, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { modeChecks, placeChecks } from "../../src/cli/checks/checks.ts";
import { inHome, mqttConfig } from "../config/home.ts";
import { temporaryFolder } from "../support/temporary.ts";

const isUnix = process.platform !== "win32";
const isRoot = process.geteuid?.() === 0;

async function checksOf(mode: number, name = "key"): ReturnType<typeof modeChecks> {
  await using folder = await temporaryFolder();
  const file = join(folder.path, name);
  await writeFile(file, "secret");
  await chmod(file, mode);
  return await modeChecks([file, file, join(folder.path, "missing")]);
}

async function placed(mode: number, kind: "file" | "folder" | "closed") {
  await using folder = await temporaryFolder();
  const path = join(folder.path, "it");
  if (kind === "folder") await mkdir(path);
  else await writeFile(path, "");
  await chmod(path, mode);
  const none = join(folder.path, "none");
  const places = [path, path, none];
  return await placeChecks(
    kind === "closed" ? { trusted: [], closed: places } : { trusted: places, closed: [] },
  );
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

  it(
    "are warned of where they are another user's, root's gateway or not",
    { skip: !isRoot },
    async () => {
      await using folder = await temporaryFolder();
      const file = join(folder.path, "key");
      await writeFile(file, "secret", { mode: 0o600 });
      await chown(file, 1234, 1234);
      const [check, ...more] = await modeChecks([file]);
      assert.equal(check?.result, "warn");
      assert.match(check.message, /belongs to another user \(1234\), who can read and change it/);
      assert.match(check.remedy ?? "", /^sudo chown 0 \/.*\/key$/);
      assert.deepEqual(more, []);
    },
  );

  it("are nothing where there are none", async () => {
    assert.deepEqual(await modeChecks(["/nowhere/at/all"]), []);
  });
});

describe("what others must not change", { skip: !isUnix }, () => {
  it("is well where others only read it", async () => {
    assert.deepEqual(await placed(0o644, "file"), []);
    assert.deepEqual(await placed(0o755, "folder"), []);
    assert.deepEqual(await placed(0o600, "closed"), []);
  });

  it("is warned of once each, with the command that mends it", async () => {
    for (const [mode, kind, message, remedy] of [
      [0o666, "file", /can be changed by every user of this machine \(mode 666\)/, /^chmod o-w \//],
      [0o777, "folder", /can be changed by every user.*mode 777/, /^chmod o-w \//],
      [0o1777, "folder", /can be changed by every user/, /^chmod o-w \//],
      [0o666, "closed", /can be read and changed by every user.*mode 666/, /^chmod 600 \//],
      [0o644, "closed", /can be read by every user.*mode 644/, /^chmod 600 \//],
      [0o640, "closed", /can be read by its group.*mode 640/, /^chmod 600 \//],
    ] as const) {
      const [check, ...more] = await placed(mode, kind);
      assert.equal(check?.result, "warn");
      assert.match(check.message, message);
      assert.match(check.remedy ?? "", remedy);
      assert.deepEqual(more, []);
    }
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
