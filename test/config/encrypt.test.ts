import assert from "node:assert/strict";
import { createDecipheriv, createHash, createHmac, hkdfSync } from "node:crypto";
import {
  chmod,
  chown,
  lstat,
  mkdir,
  readdir,
  readFile,
  readlink,
  rename,
  stat,
  symlink,
  writeFile,
} from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { Failure } from "../../src/base/failure.ts";
import { encryptSecrets } from "../../src/config/edit/encrypt.ts";
import type { Encrypted, EncryptOptions } from "../../src/config/edit/encrypt.ts";
import { loadConfig } from "../../src/config/load.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { allTextOf, mqttConfig } from "./home.ts";

const PASSPHRASE = "correct horse";
const env = { PICOCLAW_KEY_PASSPHRASE: PASSPHRASE, PICOCLAW_SSH_KEY_PATH: "" };

const config = mqttConfig({}, { model_list: [{ model_name: "gpt", model: "openai/m" }] });

interface Place extends AsyncDisposable {
  readonly path: string;
  readonly read: (name: string) => Promise<string>;
  readonly encrypt: (options?: Partial<EncryptOptions>) => Promise<readonly Encrypted[]>;
  readonly secrets: () => Promise<{ password: string | undefined; keys: string[] | undefined }>;
}

async function placeWith(security: string | undefined, json: unknown = config): Promise<Place> {
  const folder = await temporaryFolder();
  const { path } = folder;
  const written = typeof json === "string" ? json : JSON.stringify(json, null, 2);
  await writeFile(join(path, "config.json"), written, { mode: 0o644 });
  if (security !== undefined) {
    await writeFile(join(path, ".security.yml"), security, { mode: 0o644 });
  }
  return {
    path,
    read: (name) => readFile(join(path, name), "utf8"),
    encrypt: (options = {}) =>
      encryptSecrets({
        file: join(path, "config.json"),
        env,
        userHome: path,
        to: "enc",
        rewriteConfig: false,
        dryRun: false,
        passphrase: () => Promise.resolve(PASSPHRASE),
        learn: () => {},
        ...options,
      }),
    async secrets() {
      const loaded = await loadConfig({
        env: { ...env, PICOCLAW_HOME: path },
        home: path,
        cwd: path,
      });
      if (loaded instanceof Failure) assert.fail(allTextOf(loaded));
      const { channels, model_list } = loaded.config;
      return {
        password: channels[0]?.settings.password?.reveal(),
        keys: model_list[0]?.api_keys.map((key) => key.reveal()),
      };
    },
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
}

const SECURITY = `# whose are these
channels:
  mqtt:
    username: device   # not a secret
    password: 'p#w "x"'   # of the broker
model_list:
  gpt:
    api_keys:
      - sk-first-0123   # paid
      - "sk-sec\\u006fnd"
`;

describe("config encrypt", () => {
  it("encrypts what stands in plain; the loader reads the same secrets, and all else stays", async () => {
    await using place = await placeWith(SECURITY);
    const before = await place.secrets();
    assert.deepEqual(before, { password: 'p#w "x"', keys: ["sk-first-0123", "sk-second"] });
    const done = await place.encrypt();
    assert.deepEqual(
      done.map(({ line, key, did }) => [line, key, did]),
      [
        [5, "channels.mqtt.password", "encrypted"],
        [9, "model_list.gpt.api_keys[0]", "encrypted"],
        [10, "model_list.gpt.api_keys[1]", "encrypted"],
      ],
    );
    const text = await place.read(".security.yml");
    const masked = text.replaceAll(/enc:\/\/[\w+/=]+/g, "ENC");
    const expected = SECURITY.replace(`'p#w "x"'`, "ENC")
      .replace("sk-first-0123", "ENC")
      .replace('"sk-sec\\u006fnd"', "ENC");
    assert.equal(masked, expected);
    assert.deepEqual(await place.secrets(), before);
  });

  it("leaves the file to its owner alone, in one piece, and no other file", async () => {
    await using place = await placeWith(SECURITY);
    await place.encrypt();
    assert.equal((await stat(join(place.path, ".security.yml"))).mode & 0o777, 0o600);
    assert.deepEqual((await readdir(place.path)).toSorted(), [".security.yml", "config.json"]);
  });

  it("changes nothing the second time, nor what is a reference", async () => {
    await using place = await placeWith(SECURITY);
    await place.encrypt();
    const text = await place.read(".security.yml");
    const { ino } = await stat(join(place.path, ".security.yml"));
    assert.deepEqual(await place.encrypt({ passphrase: () => assert.fail("asked") }), []);
    assert.equal(await place.read(".security.yml"), text);
    assert.equal((await stat(join(place.path, ".security.yml"))).ino, ino);
    const references = "channels: {mqtt: {password: file://pw, username: cred://u}}\n";
    await using other = await placeWith(references);
    assert.deepEqual(await other.encrypt(), []);
    assert.equal(await other.read(".security.yml"), references);
  });

  it("says keys and never values in a dry run, asks for nothing and writes nothing", async () => {
    await using place = await placeWith(SECURITY);
    const done = await place.encrypt({ dryRun: true, passphrase: () => assert.fail("asked") });
    assert.equal(done.length, 3);
    assert.doesNotMatch(JSON.stringify(done), /sk-|p#w/);
    assert.equal(await place.read(".security.yml"), SECURITY);
    assert.equal((await stat(join(place.path, ".security.yml"))).mode & 0o777, 0o644);
  });

  it("reads back as it was behind a byte order mark, which stays", async () => {
    await using place = await placeWith(`\ufeff${SECURITY}`);
    const before = await place.secrets();
    const done = await place.encrypt();
    assert.ok(done.every(({ did }) => did === "encrypted"));
    assert.deepEqual(await place.secrets(), before);
    assert.ok((await place.read(".security.yml")).startsWith("\ufeff# whose"));
  });

  it("leaves a file to whoever changed it meanwhile, and says to run it again", async () => {
    await using place = await placeWith(SECURITY);
    const other = `${SECURITY}# and more\n`;
    const passphrase = async (): Promise<string> => {
      await writeFile(join(place.path, ".security.yml"), other);
      return PASSPHRASE;
    };
    await assert.rejects(
      place.encrypt({ passphrase }),
      (thrown) => thrown instanceof Failure && thrown.remedy === "run it again",
    );
    assert.equal(await place.read(".security.yml"), other);
    assert.deepEqual(await readdir(place.path), [".security.yml", "config.json"]);
  });

  it(
    "leaves a file of root's to the group of the one service that reads it",
    { skip: process.getuid?.() !== 0 },
    async () => {
      await using place = await placeWith(SECURITY);
      const file = join(place.path, ".security.yml");
      await chown(file, 0, 12_345);
      for (const [former, mode] of [
        [0o640, 0o640],
        [0o660, 0o600],
        [0o644, 0o600],
      ] as const) {
        await writeFile(file, SECURITY);
        await chmod(file, former);
        await place.encrypt();
        const { mode: now, gid } = await stat(file);
        assert.deepEqual([now & 0o777, gid], [mode, 12_345]);
      }
    },
  );

  it("moves secrets to files of their own with --to file, and overwrites none", async () => {
    await using place = await placeWith(SECURITY);
    await mkdir(join(place.path, "secrets"));
    await writeFile(join(place.path, "secrets/channels.mqtt.password"), "somebody's");
    const before = await place.secrets();
    const done = await place.encrypt({ to: "file", passphrase: () => assert.fail("asked") });
    assert.deepEqual(
      done.map(({ did, note }) => [did, note]),
      [
        ["moved", "secrets/channels.mqtt.password-2"],
        ["moved", "secrets/model_list.gpt.api_keys-0"],
        ["moved", "secrets/model_list.gpt.api_keys-1"],
      ],
    );
    assert.deepEqual(await place.secrets(), before);
    for (const { note = "" } of done) {
      assert.equal((await stat(join(place.path, note))).mode & 0o777, 0o600);
    }
    assert.equal(await place.read("secrets/channels.mqtt.password"), "somebody's");
    assert.doesNotMatch(await place.read(".security.yml"), /sk-|p#w/);
  });

  it("reports secrets in config.json, and writes that file only where it is asked to", async () => {
    const json = `{
  // of the kitchen
  "version": 3,
  "channel_list": {"mqtt": {"type": "mqtt", "enabled": true, "settings": {
    "broker": "tcp://h:1", "agent_id": "a", "password": "hunter22", }}},
  "model_list": [{"model_name": "gpt", "model": "m", "api_keys": ["sk-\\u006bey", "[NOT_HERE]"]}],
}
`;
    await using place = await placeWith(undefined, json);
    const before = await place.secrets();
    const reports = await place.encrypt();
    assert.deepEqual(
      reports.map(({ line, did }) => [line, did]),
      [
        [5, "left"],
        [6, "left"],
      ],
    );
    assert.match(reports[0]?.note ?? "", /\.security\.yml, or use --rewrite-config/);
    assert.equal(await place.read("config.json"), json);
    await place.encrypt({ rewriteConfig: true });
    const text = await place.read("config.json");
    assert.equal(
      text.replaceAll(/"enc:[^"]+"/g, "ENC"),
      json.replace('"hunter22"', "ENC").replace('"sk-\\u006bey"', "ENC"),
    );
    assert.deepEqual(await place.secrets(), before);
    assert.equal((await stat(join(place.path, "config.json"))).mode & 0o777, 0o600);
  });

  it("reports what it cannot help with", async () => {
    const model = { model_name: "gpt", model: "m", custom_headers: { Authorization: "Bearer x" } };
    await using place = await placeWith(
      "skills: {github: {token: ghp_0123}}\n",
      mqttConfig({ broker: "mqtt://me:word@h" }, { model_list: [model] }),
    );
    const done = await place.encrypt({ rewriteConfig: true });
    assert.deepEqual(
      done.map(({ key, did }) => [key, did]),
      [
        ["skills.github.token", "left"],
        ["channel_list.mqtt.settings.broker", "left"],
        ["model_list[0].custom_headers.Authorization", "left"],
      ],
    );
    assert.ok(done.every(({ note = "" }) => note !== "" && !note.includes("ghp_")));
  });

  it("encrypts the tokens of clients", async () => {
    await using place = await placeWith("gateway: {tokens: {hall: 0123456789abcdef}}\n");
    const [done] = await place.encrypt();
    assert.deepEqual([done?.key, done?.did], ["gateway.tokens.hall", "encrypted"]);
    assert.match(await place.read(".security.yml"), /hall: enc:\/\//);
  });

  it("takes one passphrase for all of a home: another one changes nothing", async () => {
    await using place = await placeWith(SECURITY);
    await place.encrypt();
    const more = `${await place.read(".security.yml")}web: {brave: {api_keys: [brave-key]}}\n`;
    await writeFile(join(place.path, ".security.yml"), more);
    const other = place.encrypt({ passphrase: () => Promise.resolve("battery staple") });
    await assert.rejects(other, (thrown) => {
      assert.ok(thrown instanceof Failure);
      assert.match(
        thrown.message,
        /\.security\.yml:5: channels\.mqtt\.password cannot be decrypted/,
      );
      assert.doesNotMatch(allTextOf(thrown), /brave-key|battery/);
      return true;
    });
    assert.equal(await place.read(".security.yml"), more);
    assert.equal((await place.encrypt()).length, 1);
  });

  it("leaves a link a link, and writes where it leads", async () => {
    await using place = await placeWith(SECURITY);
    await mkdir(join(place.path, "elsewhere"));
    const [link, target] = [".security.yml", "elsewhere/secrets.yml"];
    await rename(join(place.path, link), join(place.path, target));
    await symlink(target, join(place.path, link));
    await place.encrypt();
    assert.ok((await lstat(join(place.path, link))).isSymbolicLink());
    assert.equal(await readlink(join(place.path, link)), target);
    assert.match(await place.read(target), /enc:\/\//);
  });

  it("refuses files that it cannot read, without a word of what is in them", async () => {
    await using place = await placeWith("channels: {mqtt: {password: 'hunter22}}\n");
    await assert.rejects(place.encrypt(), (thrown) => {
      assert.ok(thrown instanceof Failure && thrown.code === "config");
      assert.doesNotMatch(allTextOf(thrown), /hunter/);
      return true;
    });
  });

  it("does nothing where there is nothing", async () => {
    await using place = await placeWith(undefined);
    assert.deepEqual(await place.encrypt(), []);
  });

  it("preserves any secret, however YAML writes it", async () => {
    const styles: readonly ((text: string) => string)[] = [
      (text) => JSON.stringify(text),
      (text) => `'${text.replaceAll("'", "''")}'`,
      (text) => `&here ${JSON.stringify(text)}`,
    ];
    const secret = fc.stringMatching(/^[!-~][ -~]{0,30}[!-~]$/).filter((text) => {
      return !/^(?:file|enc|cred):\/\/|^\[NOT_HERE\]$/.test(text);
    });
    await fc.assert(
      fc.asyncProperty(
        secret,
        fc.constantFrom(...styles),
        fc.boolean(),
        async (text, style, flow) => {
          const value = style(text);
          const yaml = flow
            ? `channels: {mqtt: {password: ${value}, keep_alive: 5}} # end\n`
            : `channels:\n  mqtt:\n    password: ${value} # end\n    keep_alive: 5\n`;
          await using place = await placeWith(yaml);
          await place.encrypt();
          const written = await place.read(".security.yml");
          assert.ok(
            written.endsWith(flow ? "keep_alive: 5}} # end\n" : "# end\n    keep_alive: 5\n"),
          );
          assert.equal((await place.secrets()).password, text);
        },
      ),
      { numRuns: 40 },
    );
  });

  it("preserves secrets in blocks of several lines", async () => {
    const yaml =
      "channels:\n  mqtt:\n    password: >-\n      two\n      words\n    keep_alive: 5\n";
    await using place = await placeWith(yaml);
    await place.encrypt();
    assert.equal((await place.secrets()).password, "two words");
  });
});

describe("what it writes is what Go PicoClaw decrypts", () => {
  it("salt, nonce, text and tag in base64, the key from passphrase and SSH key", async () => {
    await using place = await placeWith(SECURITY);
    await writeFile(join(place.path, "ssh"), "ssh key\n");
    const withKey = { ...env, PICOCLAW_SSH_KEY_PATH: join(place.path, "ssh") };
    await place.encrypt({ env: withKey });
    const [value = ""] = /enc:\/\/[\w+/=]+/.exec(await place.read(".security.yml")) ?? [];
    assert.equal(decryptedAsInGo(value, PASSPHRASE, "ssh key\n"), 'p#w "x"');
  });

  it("without an SSH key from the passphrase's digest", async () => {
    await using place = await placeWith(SECURITY);
    await place.encrypt();
    const values = (await place.read(".security.yml")).match(/enc:\/\/[\w+/=]+/g) ?? [];
    assert.deepEqual(
      values.map((value) => decryptedAsInGo(value, PASSPHRASE)),
      ['p#w "x"', "sk-first-0123", "sk-second"],
    );
    assert.equal(
      new Set(values.map((value) => value.slice(6, 44))).size,
      3,
      "each has its own salt",
    );
  });
});

const digest = (data: string): Buffer => createHash("sha256").update(data).digest();

/** As Go PicoClaw's credential.Resolve. */
function decryptedAsInGo(value: string, passphrase: string, sshKey?: string): string {
  const blob = Buffer.from(value.slice("enc://".length), "base64");
  const material =
    sshKey === undefined
      ? digest(passphrase)
      : createHmac("sha256", digest(sshKey)).update(passphrase).digest();
  const key = hkdfSync("sha256", material, blob.subarray(0, 16), "picoclaw-credential-v1", 32);
  const decipher = createDecipheriv("aes-256-gcm", Buffer.from(key), blob.subarray(16, 28));
  decipher.setAuthTag(blob.subarray(-16));
  return Buffer.concat([decipher.update(blob.subarray(28, -16)), decipher.final()]).toString();
}
