import assert from "node:assert/strict";
import { createCipheriv, createHash, createHmac, hkdfSync, randomBytes } from "node:crypto";
import { symlink, unlink } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { allTextOf, failureFrom, firstChannel, inHome, loadedFrom, mqttConfig } from "./home.ts";

const digest = (data: string): Buffer => createHash("sha256").update(data).digest();

const keyConfig = (key: unknown, more: object = {}) => ({
  version: 3,
  model_list: [{ model_name: "m", model: "openai/m", api_keys: [key], ...more }],
});
const keyOf = (loaded: Awaited<ReturnType<typeof loadedFrom>>) =>
  loaded.config.model_list[0]?.api_keys[0]?.reveal();

const credentials = (home: { readonly user: string }) => ({
  CREDENTIALS_DIRECTORY: join(home.user, "credentials"),
});

const searchWithKey = (enabled: boolean) => ({ enabled, api_keys: ["file://missing"] });

const webFiles = (web: object) => ({ "config.json": { version: 3, tools: { web } }, key: "k" });

describe("file:// secrets", () => {
  it("are read from the folder of config.json, trimmed, wherever a secret may stand", async () => {
    const files = {
      "config.json": {
        ...mqttConfig({ username: "file://user" }),
        model_list: [{ model_name: "m", model: "openai/m" }],
      },
      ".security.yml": "model_list: {m: {api_keys: [file://keys/one, file:// two ]}}\n",
      user: "u\n",
      password: "\n p w \n",
      "keys/one": "k1\r\n",
      two: "k2",
    };
    await inHome(files, async (home) => {
      const loaded = await home.loaded({
        env: { PICOCLAW_CHANNELS_MQTT_PASSWORD: "file://password" },
      });
      assert.equal(firstChannel(loaded).settings.username?.reveal(), "u");
      assert.equal(firstChannel(loaded).settings.password?.reveal(), "p w");
      const keys = loaded.config.model_list[0]?.api_keys.map((key) => key.reveal());
      assert.deepEqual(keys, ["k1", "k2"]);
    });
  });

  it("of searches are read where the search is switched on, and only there", async () => {
    await inHome(webFiles({ brave: { enabled: true } }), async (home) => {
      assert.deepEqual((await home.loaded()).config.tools.web.brave.api_keys, []);
    });
    const security = { ".security.yml": "web: {brave: {api_keys: [file://key, plain]}}" };
    await inHome({ ...webFiles({ brave: { enabled: true } }), ...security }, async (home) => {
      const { brave } = (await home.loaded()).config.tools.web;
      assert.deepEqual(
        brave.api_keys.map((key) => key.reveal()),
        ["k", "plain"],
      );
    });
    for (const web of [
      { brave: searchWithKey(false) },
      { enabled: false, tavily: searchWithKey(true) },
    ]) {
      await inHome(webFiles(web), async (home) => {
        const { brave, tavily } = (await home.loaded()).config.tools.web;
        assert.deepEqual([brave.api_keys, tavily.api_keys], [[], []]);
      });
    }
    await inHome(webFiles({ tavily: searchWithKey(true) }), async (home) => {
      const failure = await home.failed();
      assert.match(
        failure.message,
        /tools\.web\.tavily\.api_keys\[0\]: .*cannot be read \(ENOENT\)/,
      );
    });
  });

  const faults: readonly [reference: string, fault: RegExp][] = [
    ["file://", /has no file name after file:\/\//],
    ["file://missing", /names a file in \/.+ that cannot be read \(ENOENT\)/],
    ["file://empty", /names a file that is empty/],
    ["file://keys", /cannot be read \(EISDIR\)/],
    ["file://../outside", /outside of the folder/],
    ["file://link", /outside of the folder/],
    ["file://a/../../outside", /outside of the folder/],
  ];
  for (const [reference, fault] of faults) {
    it(`${reference} is refused by file, line and key`, async () => {
      const files = {
        "config.json": keyConfig(reference),
        empty: " \n",
        "keys/x": "x",
        "a/x": "",
        "../outside": "s",
      };
      await inHome(files, async (home) => {
        await symlink(join(home.user, "outside"), join(home.path, "link"));
        const failure = await home.failed();
        await unlink(join(home.path, "link"));
        assert.match(failure.message, /config\.json:8: model_list\[0\]\.api_keys\[0\]: /);
        assert.match(failure.message, fault);
      });
    });
  }

  it("cannot leave the folder by an absolute path", async () => {
    await inHome(
      { "config.json": keyConfig("file:///etc/hostname"), "etc/hostname": "mine" },
      async (home) => {
        assert.equal(keyOf(await home.loaded()), "mine");
      },
    );
  });

  it("may be links that stay inside, and the folder may be a link itself", async () => {
    await inHome({ "config.json": keyConfig("file://link"), "keys/one": "k" }, async (home) => {
      await symlink("keys/one", join(home.path, "link"));
      await symlink(home.path, join(home.user, "alias"));
      assert.equal(keyOf(await home.loaded({ env: { PICOCLAW_HOME: "~/alias" } })), "k");
      await unlink(join(home.user, "alias"));
      await unlink(join(home.path, "link"));
    });
  });

  it("of what is not used are not read", async () => {
    const config = {
      ...keyConfig("file://missing", { enabled: false }),
      channel_list: { mqtt: { enabled: false, settings: { password: "file://missing" } } },
    };
    assert.deepEqual((await loadedFrom(config)).config.model_list[0]?.api_keys, []);
  });

  it("of a model that is named are read though it is disabled", async () => {
    for (const model_name of ["m", "openai/gpt"]) {
      const config = {
        ...keyConfig("file://missing", { enabled: false, model: "openai/gpt" }),
        agents: { defaults: { model_name } },
      };
      assert.match((await failureFrom(config)).message, /ENOENT/);
    }
  });
});

describe("cred:// secrets", () => {
  it("are read from the folder of systemd, wherever a file:// may stand", async () => {
    const model = { model_name: "m", model: "openai/m", api_keys: ["cred://key"] };
    const custom_headers = { "X-Key": "cred://header", Accept: "text/html" };
    const files = {
      "config.json": {
        ...mqttConfig({ username: "cred://user", password: "cred:// pass " }),
        model_list: [{ ...model, custom_headers }],
        tools: { web: { brave: { enabled: true, api_keys: ["cred://brave"] } } },
      },
      "../credentials/user": "u\n",
      "../credentials/pass": " p w \n",
      "../credentials/key": "k",
      "../credentials/header": "h",
      "../credentials/brave": "b",
    };
    await inHome(files, async (home) => {
      const loaded = await home.loaded({ env: credentials(home) });
      const { settings } = firstChannel(loaded);
      const headers = loaded.config.model_list[0]?.custom_headers ?? {};
      assert.deepEqual(
        [
          settings.username,
          settings.password,
          loaded.config.model_list[0]?.api_keys[0],
          headers["X-Key"],
          headers["Accept"],
          loaded.config.tools.web.brave.api_keys[0],
        ].map((secret) => secret?.reveal()),
        ["u", "p w", "k", "h", "text/html", "b"],
      );
    });
  });

  it("can be the passphrase, where no variable holds one", async () => {
    const files = {
      "config.json": keyConfig(encrypted("sk-1", "from systemd")),
      "../credentials/picoclaw-key-passphrase": "from systemd\n",
    };
    await inHome(files, async (home) => {
      const env = { ...credentials(home), PICOCLAW_SSH_KEY_PATH: "" };
      assert.equal(keyOf(await home.loaded({ env })), "sk-1");
      const failure = await home.failed({ env: { ...env, PICOCLAW_KEY_PASSPHRASE: "other" } });
      assert.match(failure.message, /cannot be decrypted/);
      const elsewhere = { ...env, CREDENTIALS_DIRECTORY: join(home.user, "others") };
      const missing = await home.failed({ env: elsewhere });
      assert.match(
        missing.message,
        /there is no passphrase: set PICOCLAW_KEY_PASSPHRASE.*LoadCredential=/,
      );
    });
  });

  const faults: readonly [reference: string, fault: RegExp][] = [
    ["cred://", /is not the name of a credential/],
    ["cred://../outside", /is not the name of a credential: one word without \//],
    ["cred://a/b", /one word without \//],
    ["cred://..", /is not the name of a credential/],
    [
      "cred://missing",
      /credential missing, which cannot be read \(ENOENT\): LoadCredential=missing:/,
    ],
    ["cred://empty", /credential empty, which is empty/],
    ["cred://large", /credential large, which cannot be read \(EFBIG\)/],
  ];
  for (const [reference, fault] of faults) {
    it(`${reference} is refused by file, line and key`, async () => {
      const files = {
        "config.json": keyConfig(reference),
        "../credentials/empty": " ",
        "../credentials/large": "x".repeat(70_000),
        "../outside": "s",
      };
      await inHome(files, async (home) => {
        const failure = await home.failed({ env: credentials(home) });
        assert.match(failure.message, /config\.json:8: model_list\[0\]\.api_keys\[0\]: /);
        assert.match(failure.message, fault);
      });
    });
  }

  it("outside of a service say what is missing there", async () => {
    const { message } = await failureFrom(keyConfig("cred://key"));
    assert.match(message, /CREDENTIALS_DIRECTORY is not set: LoadCredential=key:\/path/);
  });
});

describe("enc:// secrets", () => {
  const passphrase = "correct horse";
  const env = { PICOCLAW_KEY_PASSPHRASE: passphrase, PICOCLAW_SSH_KEY_PATH: "" };

  it("are decrypted with the passphrase alone", async () => {
    assert.equal(
      keyOf(await loadedFrom(keyConfig(encrypted("sk-1", passphrase)), { env })),
      "sk-1",
    );
  });

  it("are decrypted with passphrase and SSH key", async () => {
    await inHome(
      { "config.json": keyConfig(encrypted("sk-ü", passphrase, "ssh key\n")), key: "ssh key\n" },
      async (home) => {
        const loaded = await home.loaded({
          env: { ...env, PICOCLAW_SSH_KEY_PATH: join(home.path, "key") },
        });
        assert.equal(keyOf(loaded), "sk-ü");
      },
    );
  });

  it("take the key in ~/.ssh where the variable is not set, and none where it is empty", async () => {
    const files = {
      "config.json": keyConfig(encrypted("sk-1", passphrase, "ssh key")),
      "../.ssh/picoclaw_ed25519.key": "ssh key",
    };
    await inHome(files, async (home) => {
      const withKey = { PICOCLAW_KEY_PASSPHRASE: passphrase };
      assert.equal(keyOf(await home.loaded({ env: withKey })), "sk-1");
      assert.match((await home.failed({ env })).message, /cannot be decrypted/);
    });
  });

  it("may have any text, in .security.yml and in variables", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.string({ minLength: 1 }),
        fc.string({ minLength: 1 }),
        async (username, password) => {
          const security = `channels: {mqtt: {username: ${encrypted(username, passphrase)}}}`;
          const variables = {
            ...env,
            PICOCLAW_CHANNELS_MQTT_PASSWORD: encrypted(password, passphrase),
          };
          const { settings } = firstChannel(
            await loadedFrom(mqttConfig(), { security, env: variables }),
          );
          assert.equal(settings.username?.reveal(), username);
          assert.equal(settings.password?.reveal(), password);
        },
      ),
      { numRuns: 30 },
    );
  });

  it("match vectors that Go's crypto/hkdf and crypto/cipher made", async () => {
    const variables = { ...env, PICOCLAW_KEY_PASSPHRASE: "p" };
    const alone = "enc://AAECAwQFBgcICQoLDA0ODwABAgMEBQYHCAkKC122rKRAjSPMwIFocqXscpEx30wscOI=";
    assert.equal(keyOf(await loadedFrom(keyConfig(alone), { env: variables })), "vector");
    const withKey = "enc://AAECAwQFBgcICQoLDA0ODwABAgMEBQYHCAkKC0/IAjJTh5SdMpQtZwqI1eHDKc44H14=";
    await inHome({ "config.json": keyConfig(withKey), key: "ssh key\n" }, async (home) => {
      const file = { ...variables, PICOCLAW_SSH_KEY_PATH: join(home.path, "key") };
      assert.equal(keyOf(await home.loaded({ env: file })), "vector");
    });
  });

  const good = encrypted("sk-1", passphrase);
  const faults: readonly [
    name: string,
    value: string,
    env: Record<string, string>,
    fault: RegExp,
  ][] = [
    [
      "without a passphrase",
      good,
      { PICOCLAW_KEY_PASSPHRASE: "" },
      /there is no passphrase: set PICOCLAW_KEY_PASSPHRASE/,
    ],
    [
      "with another passphrase",
      good,
      { ...env, PICOCLAW_KEY_PASSPHRASE: "x" },
      /cannot be decrypted/,
    ],
    [
      "with an SSH key that is not there",
      good,
      { ...env, PICOCLAW_SSH_KEY_PATH: "/missing" },
      /SSH key \/missing cannot be read \(ENOENT\)/,
    ],
    ["cut short", good.slice(0, 50), env, /damaged/],
    ["of other characters", `${good.slice(0, -4)}!!!!`, env, /damaged/],
    [
      "changed",
      `enc://${Buffer.from(Buffer.from(good.slice(6), "base64").map((byte, index) => (index === 30 ? byte ^ 1 : byte))).toString("base64")}`,
      env,
      /cannot be decrypted/,
    ],
    ["of nothing", "enc://", env, /damaged/],
  ];
  for (const [name, value, variables, fault] of faults) {
    it(`${name} are refused by file, line and key`, async () => {
      const failure = await failureFrom(keyConfig(value), { env: variables });
      assert.match(failure.message, /config\.json:8: model_list\[0\]\.api_keys\[0\]: /);
      assert.match(failure.message, fault);
      assert.ok(!allTextOf(failure).includes(value.slice(6) || "enc://"));
    });
  }
});

/** As Go PicoClaw's credential.Encrypt. */
function encrypted(text: string, passphrase: string, sshKey?: string): string {
  const material =
    sshKey === undefined
      ? digest(passphrase)
      : createHmac("sha256", digest(sshKey)).update(passphrase).digest();
  const [salt, nonce] = [randomBytes(16), randomBytes(12)];
  const key = Buffer.from(hkdfSync("sha256", material, salt, "picoclaw-credential-v1", 32));
  const cipher = createCipheriv("aes-256-gcm", key, nonce);
  const sealed = [cipher.update(text, "utf8"), cipher.final(), cipher.getAuthTag()];
  return `enc://${Buffer.concat([salt, nonce, ...sealed]).toString("base64")}`;
}
