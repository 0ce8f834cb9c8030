import assert from "node:assert/strict";
import { chmod, chown, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { describe, it } from "node:test";
import { temporaryFolder } from "../support/temporary.ts";
import { runIn, type Ran, type RunOptions } from "./host.ts";

const CONFIG = `{ // mine
  "version": 3,
  "model_list": [
    { "model_name": "gpt-4.1", "model": "openai/gpt-4.1", "api_keys": ["sk-secret-1234"],
      "custom_headers": { "X-Api-Key": "hush-hush", "Accept": "a/b" },
      "extra_body": { "token": "tttttt", "top_k": [1] },
      "proxy": "http://u:proxy-word@h:1" }
  ],
  "channel_list": {
    "mqtt": { "enabled": true, "settings": { "broker": "tcp://bob:hunter2@localhost", "agent_id": "a" } },
    "telegram": { "enabled": false, "token": "telegram-word" }
  }
}`;
const SECRETS = ["sk-secret-1234", "hush-hush", "tttttt", "proxy-word", "hunter2", "telegram-word"];

type RunConfig = (words: string | readonly string[], given?: RunOptions) => Promise<Ran>;

/** Runs `picoclaw config` in a home with this config.json; no output may hold a secret of `CONFIG`. */
async function inHome(
  config: string | undefined,
  use: (run: RunConfig, file: string) => Promise<void>,
): Promise<void> {
  await using folder = await temporaryFolder();
  const file = join(folder.path, "config.json");
  if (config !== undefined) await writeFile(file, config);
  await use(async (words, { env = {}, input = "" } = {}) => {
    const args = typeof words === "string" ? words.split(" ") : words;
    const ran = await runIn(folder.path, ["config", ...args], { env, input });
    for (const secret of SECRETS) assert.ok(!(ran.stdout + ran.stderr).includes(secret), secret);
    return ran;
  }, file);
}

describe("config show", () => {
  it("prints every value with where it comes from", async () => {
    await inHome(CONFIG, async (run, file) => {
      const words = "show --origin --agent kitchen";
      const { code, stdout } = await run(words, { env: { PICOCLAW_GATEWAY_PORT: "99" } });
      assert.equal(code, 0);
      const lines = stdout.split("\n");
      for (const line of [
        `model_list[0].model = "openai/gpt-4.1"  # ${file}:4`,
        `model_list[0].api_keys = ["***"]  # ${file}:4`,
        `model_list[0].extra_body = {"token":"***","top_k":[1]}  # ${file}:6`,
        `model_list[0].proxy = "http://u:***@h:1"  # ${file}:7`,
        `channel_list.mqtt.settings.broker = ["tcp://localhost"]  # ${file}:10`,
        `channel_list.mqtt.settings.agent_id = "kitchen"  # --agent`,
        `channel_list.mqtt.settings.username = "bob"  # ${file}:10`,
        `channel_list.mqtt.settings.password = "***"  # ${file}:10`,
        `gateway.port = 99  # environment PICOCLAW_GATEWAY_PORT`,
        `gateway.host = "localhost"  # default`,
        `# gateway.name is not set: the host name`,
        // PICOCLAW_HOME may say another place than ~/.picoclaw.
        `# agents.defaults.workspace is not set: workspace in the home`,
      ]) {
        assert.ok(lines.includes(line), line);
      }
      assert.ok(!stdout.includes("telegram"));
    });
  });

  it("prints what is below a key, and as JSON Lines", async () => {
    await inHome(CONFIG, async (run) => {
      const { stdout } = await run("show channel_list.mqtt.settings.tls");
      assert.equal(stdout.split("\n").filter((line) => line !== "").length, 5);
      const { stdout: json } = await run("show gateway.port --json");
      assert.deepEqual(JSON.parse(json), {
        v: 1,
        type: "setting",
        key: "gateway.port",
        value: 18790,
        origin: { from: "default" },
      });
    });
  });

  it("ends with 78 if a value is wrong", async () => {
    await inHome('{"gateway": {"port": "x"}}', async (run) => {
      const { code, stdout, stderr } = await run("show");
      assert.deepEqual([code, stdout], [78, ""]);
      assert.match(stderr, /config\.json:1: gateway\.port/);
    });
  });
});

describe("the passphrase of encrypted values", () => {
  it("is masked wherever it is written, also that of a service's credentials", async () => {
    await using credentials = await temporaryFolder();
    await writeFile(join(credentials.path, "picoclaw-key-passphrase"), "battery-staple\n");
    const given = { env: { CREDENTIALS_DIRECTORY: credentials.path } };
    await inHome(CONFIG.replace('"a" }', '"battery-staple" }'), async (run) => {
      const { stdout } = await run("get channel_list.mqtt.settings.agent_id", given);
      assert.equal(stdout, "[FILTERED]\n");
    });
    await inHome(CONFIG.replace('"version": 3', '"battery-staple": 3'), async (run) => {
      const { stdout } = await run("validate", given);
      assert.match(stdout, /FILTERED/);
      assert.ok(!stdout.includes("battery-staple"), stdout);
    });
  });
});

describe("config get", () => {
  for (const [key, printed] of [
    ["gateway.port", "18790\n"],
    ["channel_list.mqtt.settings.broker", "tcp://localhost\n"],
    ["model_list.gpt-4.1.model", "openai/gpt-4.1\n"],
    ["model_list[0].model", "openai/gpt-4.1\n"],
    ["model_list.gpt-4.1.api_keys", "***\n"],
    ["model_list.gpt-4.1.api_keys[0]", "***\n"],
    ["model_list.gpt-4.1.custom_headers.X-Api-Key", "***\n"],
    ["model_list.gpt-4.1.extra_body.top_k", "[1]\n"],
    ["channel_list.mqtt.settings.streaming.enabled", "true\n"],
    ["session", '{"dm_scope":["chat"]}\n'],
  ] as const) {
    it(`prints ${key}`, async () => {
      await inHome(CONFIG, async (run) => {
        const { code, stdout, stderr } = await run(`get ${key}`);
        assert.deepEqual([code, stdout, stderr], [0, printed, ""]);
      });
    });
  }

  it("ends with 1 if nothing is set", async () => {
    await inHome(CONFIG, async (run) => {
      const { code, stdout, stderr } = await run("get gateway.name");
      assert.deepEqual([code, stdout], [1, ""]);
      assert.equal(stderr, "error: gateway.name is not set\n  default: the host name\n");
    });
  });

  for (const [key, error] of [
    ["gateway.prot", /^error: gateway\.prot is not a known key; did you mean gateway\.port\?\n/],
    ["gatway.port", /did you mean gateway\.port\?\n/],
    ["gateway.port.x", /not a known key: gateway\.port is a single value\n/],
    ["model_list.gpx.model", /model_list has no entry gpx\n/],
    ["toString", /is not a known key\n/],
  ] as const) {
    it(`ends with 2 for ${key}`, async () => {
      await inHome(CONFIG, async (run) => {
        const { code, stdout, stderr } = await run(`get ${key}`);
        assert.deepEqual([code, stdout], [2, ""]);
        assert.match(stderr, error);
      });
    });
  }
});

describe("config validate", () => {
  it("is 0 for a configuration that loads, with its warnings", async () => {
    await inHome('{"gatway": {}}', async (run, file) => {
      const { code, stdout } = await run("validate");
      assert.equal(code, 0);
      assert.match(stdout, /^warning: .*:1: gatway: .* did you mean gateway\?\n {2}try: /);
      assert.ok(stdout.endsWith(`${file} is valid: 0 errors, 3 warnings\n`), stdout);
    });
  });

  it("is 78 with all wrong values, each on its line", async () => {
    await inHome('{"gateway": {"port": -1,\n"host": 7}}', async (run) => {
      const { code, stdout } = await run("validate --json");
      assert.equal(code, 78);
      const findings = stdout
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line));
      const errors = findings.filter(({ severity }) => severity === "error");
      assert.equal(errors.length, 2);
      assert.match(errors[1].message, /config\.json:2: gateway\.host/);
    });
  });

  for (const text of ["{", '{"version": 9}', '{"tools": {"exec": {"restrict_x": 1}}, "a": nul}']) {
    it(`is 78 for ${text}`, async () => {
      await inHome(text, async (run) => assert.equal((await run("validate")).code, 78));
    });
  }

  it("is 78 for a model that cannot be called, as the gateway would end", async () => {
    const entry = { model_name: "m", model: "openai/gpt-5.4", api_keys: ["sk-…"] };
    const config = { agents: { defaults: { model_name: "m" } }, model_list: [entry] };
    await inHome(JSON.stringify(config), async (run) => {
      const { code, stdout } = await run("validate");
      assert.equal(code, 78);
      assert.match(stdout, /^error: model_list "m" has an invalid key: .*\n {2}try: copy the key/m);
    });
  });

  it("is 0 without a file", async () => {
    await inHome(undefined, async (run) => {
      const { code, stdout } = await run("validate");
      assert.equal(code, 0);
      assert.match(
        stdout,
        /^warning: there is no channel to serve: there is no .*config\.json\n {2}try: picoclaw onboard/m,
      );
    });
  });
});

describe("config set", () => {
  const MINE = `{
\t// the house
\t"version": 3, /* keep */
\t"channel_list": {
\t\t"mqtt": { "enabled": true, "settings": { "broker": "tcp://h", "agent_id": "a" } }, // one
\t},
\t"gateway": { "port": 1 },
}
`;

  it("changes one value and nothing else, keeps the mode, and names the line", async () => {
    await inHome(MINE, async (run, file) => {
      await chmod(file, 0o640);
      const { code, stdout, stderr } = await run("set gateway.port 1883");
      assert.deepEqual([code, stdout, stderr], [0, `gateway.port = 1883  # ${file}:7\n`, ""]);
      assert.equal(await readFile(file, "utf8"), MINE.replace('"port": 1', '"port": 1883'));
      assert.equal((await stat(file)).mode & 0o777, 0o640);
    });
  });

  it("adds keys beside comments, as text or JSON as the key wants it", async () => {
    await inHome(MINE, async (run, file) => {
      for (const [key, value] of [
        ["channel_list.mqtt.settings.qos", "1"],
        ["channel_list.mqtt.settings.username", "007"],
        ["channel_list.mqtt.settings.streaming.enabled", "false"],
        ["channel_list.mqtt.allow_from", '["a", "b"]'],
        ["agents.defaults.turn_timeout_secs", "60"],
        ["model_list[0]", '{"model_name": "gpt", "model": "ollama/m"}'],
        ["model_list.gpt.rpm", "3"],
        ["model_list.gpt.extra_body.top_k", "7"],
        ["model_list.gpt.extra_body.stop", "x"],
      ] as const) {
        assert.equal((await run(["set", key, value])).stderr, "", key);
      }
      const text = await readFile(file, "utf8");
      for (const kept of ["// the house", "/* keep */", "// one"]) assert.ok(text.includes(kept));
      const { stdout } = await run("get channel_list.mqtt");
      assert.deepEqual(JSON.parse(stdout).allow_from, ["a", "b"]);
      assert.match(text, /"username": "007"/);
      assert.match(text, /"qos": 1,?\n/);
      assert.equal((await run("get model_list.gpt.extra_body")).stdout, '{"top_k":7,"stop":"x"}\n');
      assert.equal((await run("get model_list.gpt.rpm")).stdout, "3\n");
    });
  });

  it("refuses a file that has the key twice, of which the other one counts", async () => {
    const twice = '{"version": 3, "gateway": {"port": 1}, "gateway": {"port": 2}}';
    await inHome(twice, async (run, file) => {
      const { code, stderr } = await run("set gateway.port 7");
      assert.equal(code, 1);
      assert.match(stderr, /it has gateway twice/);
      assert.equal(await readFile(file, "utf8"), twice);
    });
  });

  it("keeps the comment of an only key, and changes no alias of it", async () => {
    await inHome(CONFIG, async (run, file) => {
      const security = join(dirname(file), ".security.yml");
      const set = () => run("set model_list.gpt-4.1.api_keys", { input: "hunter2" });
      const text = 'model_list:\n  gpt-4.1:\n    api_keys: ["old"] # May\n';
      await writeFile(security, text, { mode: 0o600 });
      assert.equal((await set()).code, 0);
      const changed = 'model_list:\n  gpt-4.1:\n    api_keys: [ "hunter2" ] # May\n';
      assert.equal(await readFile(security, "utf8"), changed);
      const shared =
        "model_list:\n  gpt-4.1:\n    api_keys: [&k old]\n  other:\n    api_keys: [*k]\n";
      await writeFile(security, shared, { mode: 0o600 });
      assert.equal((await set()).code, 1);
      assert.equal(await readFile(security, "utf8"), shared);
    });
  });

  it("takes no second key out of a value", async () => {
    await inHome(MINE, async (run, file) => {
      const { code, stdout } = await run(["set", "gateway.port", '5, "host": "0.0.0.0"']);
      assert.deepEqual([code, stdout], [2, ""]);
      assert.equal(await readFile(file, "utf8"), MINE);
    });
  });

  it("makes a file that only its owner can read", async () => {
    await inHome(undefined, async (run, file) => {
      assert.equal((await run("set channel_list.mqtt.settings.agent_id kitchen")).code, 0);
      assert.deepEqual(JSON.parse(await readFile(file, "utf8")), {
        version: 3,
        channel_list: { mqtt: { settings: { agent_id: "kitchen" } } },
      });
      assert.equal((await stat(file)).mode & 0o777, 0o600);
    });
  });

  const isRoot = process.geteuid?.() === 0;
  it("makes a file for the user of a service, if root does it", { skip: !isRoot }, async () => {
    await inHome(undefined, async (run, file) => {
      await chown(dirname(file), 1234, 1234);
      assert.equal((await run("set channel_list.mqtt.settings.agent_id kitchen")).code, 0);
      const { uid, gid, mode } = await stat(file);
      assert.deepEqual([uid, gid, mode & 0o777], [1234, 1234, 0o600]);
    });
  });

  it("finds a value in the older form of a file", async () => {
    const old = '{"channels": {"mqtt": {"enabled": true, "broker": "tcp://h", "agent_id": "a"}}}';
    await inHome(old, async (run, file) => {
      assert.equal((await run("set channel_list.mqtt.settings.agent_id b")).code, 0);
      assert.equal(await readFile(file, "utf8"), old.replace('"a"', '"b"'));
    });
  });

  it("says what wins over the value", async () => {
    await inHome(MINE, async (run) => {
      const env = { PICOCLAW_GATEWAY_PORT: "5" };
      const { stdout, stderr } = await run("set gateway.port 7", { env });
      assert.match(stdout, /^gateway\.port = 5 /);
      assert.match(stderr, /^note: environment PICOCLAW_GATEWAY_PORT .* which wins\n$/);
    });
  });

  it("says what is suspicious about the value, and not about others", async () => {
    await inHome(MINE, async (run) => {
      const { code, stderr } = await run("set tools.profiles.kitchen.tools device,cron");
      assert.equal(code, 0);
      assert.match(
        stderr,
        /^note: .+"device,cron" is not a tool and allows nothing; the tools are: .+\n$/,
      );
      assert.equal((await run("set gateway.port 7")).stderr, "");
    });
  });

  it("takes a whole list, but none that holds a secret", async () => {
    await inHome(MINE, async (run, file) => {
      const watch = '[{"topic":"bell","prompt":"Ring.","client":"hall"}]';
      const { code, stdout } = await run(`set tools.mqtt.watch ${watch}`);
      assert.equal(code, 0);
      assert.match(stdout, /^tools\.mqtt\.watch\[0\]\.topic = "bell" /);
      const written = await readFile(file, "utf8");
      const model = '[{"model_name":"l","model":"openai/m","api_keys":["s-k-1-2-3"]}]';
      assert.match((await run(`set model_list ${model}`)).stderr, /holds a secret/);
      assert.match((await run("set model_list x")).stderr, /must be a JSON array/);
      assert.equal(await readFile(file, "utf8"), written);
    });
  });

  it("takes every line of the README", async () => {
    const readme = await readFile(join(import.meta.dirname, "../../README.md"), "utf8");
    const [, table = ""] = /\n## What else it does\n(.*?)\n## /s.exec(readme) ?? [];
    const rows = table.split("\n").map((row) => row.split("|")[2] ?? "");
    const values = rows.flatMap((row) =>
      [...row.matchAll(/`([^`]+)`/g)].map(([, one = ""]) => one),
    );
    const settings = values.filter((one) => !one.startsWith("picoclaw "));
    assert.ok(settings.length > 8, table);
    await inHome(MINE, async (run) => {
      for (const setting of settings) {
        const words = [...setting.matchAll(/'([^']*)'|(\S+)/g)].map(
          ([, text, word]) => text ?? word ?? "",
        );
        const { code, stderr } = await run(["set", ...words]);
        assert.deepEqual([code, stderr], [0, ""], setting);
      }
    });
  });

  it("writes nothing with --dry-run", async () => {
    await inHome(MINE, async (run, file) => {
      assert.match((await run("set gateway.port 7 --dry-run")).stdout, /^gateway\.port = 7 /);
      assert.equal(await readFile(file, "utf8"), MINE);
    });
  });

  for (const [words, error] of [
    ["gateway.prot 1", /did you mean gateway\.port\?/],
    ["gateway.port x", /gateway\.port: found "x", allowed is a whole number/],
    ["gateway.port", /a value is missing/],
    ["gateway 1", /must be a JSON object/],
    ['gateway {"prot":1}', /gateway\.prot: is not a known key/],
    ["agents.defaults.model_name gpt --", undefined],
    ['model_list[0] {"model_name":"l"}', /has no model\b/],
    [
      'model_list[0] {"model_name":"l","model":"m","api_keys":["s-k-1-2-3"]}',
      /model_list\[0\]\.api_keys/,
    ],
    ["gateway.store postgres://u:word@h/d", /the URL holds a password/],
    ["channel_list.mqtt.settings.broker http://x", /is not a broker URL/],
    ["channel_list.mqtt.settings.password s-k-1-2-3", /not taken from the command line/],
  ] as const) {
    it(error ? `refuses ${words}` : `takes ${words}`, async () => {
      await inHome(MINE, async (run, file) => {
        const { code, stdout, stderr } = await run(`set ${words}`);
        if (error === undefined) return assert.equal(code, 0);
        assert.deepEqual([code, stdout], [2, ""]);
        assert.match(stderr, error);
        assert.ok(!stderr.includes("s-k-1-2-3"));
        assert.equal(await readFile(file, "utf8"), MINE);
      });
    });
  }

  it("writes secrets from a pipe into .security.yml", async () => {
    await inHome(MINE, async (run, file) => {
      const security = join(dirname(file), ".security.yml");
      const first = "# mine\nchannels:\n  mqtt:\n    password: old # rotate in May\n";
      await writeFile(security, first, { mode: 0o644 });
      await run(["set", "model_list[0]", '{"model_name": "g.1", "model": "openai/m"}']);
      const password = "channel_list.mqtt.settings.password";
      assert.equal((await run(`set ${password}`, { input: "sk-secret-1234\n" })).code, 0);
      assert.equal((await run("set model_list.g.1.api_keys", { input: "hunter2" })).code, 0);
      assert.equal(
        (await run("set model_list.g.1.custom_headers.X-Key", { input: "hush-hush" })).code,
        0,
      );
      const added =
        'model_list:\n  g.1:\n    api_keys:\n      - "hunter2"\n    custom_headers:\n      X-Key: "hush-hush"\n';
      assert.equal(
        await readFile(security, "utf8"),
        first.replace("old", '"sk-secret-1234"') + added,
      );
      assert.equal((await stat(security)).mode & 0o777, 0o600);
      assert.ok(!(await readFile(file, "utf8")).includes("hunter2"));
      assert.equal((await run(`get ${password}`)).stdout, "***\n");
      assert.equal((await run(`set ${password} cred://mqtt`)).code, 0);
      assert.match(await readFile(security, "utf8"), /password: "cred:\/\/mqtt" # rotate/);
      assert.equal((await readdir(dirname(file))).length, 2);
    });
  });

  it("refuses a blank secret", async () => {
    await inHome(MINE, async (run, file) => {
      const { code } = await run("set channel_list.mqtt.settings.password", { input: "\n" });
      assert.equal(code, 2);
      assert.deepEqual(await readdir(dirname(file)), ["config.json"]);
    });
  });
});

describe("config decrypt", () => {
  const env = { PICOCLAW_KEY_PASSPHRASE: "correct horse", PICOCLAW_SSH_KEY_PATH: "" };
  const plain =
    '# mine\nchannel_list:\n  mqtt:\n    settings:\n      password: "a: \\"b\\" # 7\\n" # May\nmodel_list:\n  gpt:\n    api_keys: ["sk-secret-1234"]\n';

  it("is the reverse of encrypt", async () => {
    await inHome(CONFIG, async (run, file) => {
      const security = join(dirname(file), ".security.yml");
      await writeFile(security, plain, { mode: 0o644 });
      assert.equal((await run("encrypt", { env })).code, 0);
      const sealed = await readFile(security, "utf8");
      assert.doesNotMatch(sealed, /sk-secret/);
      const dry = await run("decrypt --dry-run", { env });
      assert.match(dry.stdout, /:5: channel_list\.mqtt\.settings\.password: would be decrypted\n/);
      assert.equal(await readFile(security, "utf8"), sealed);
      const { code, stdout } = await run("decrypt", { env });
      assert.equal(code, 0, stdout);
      assert.match(stdout, /\n2 secrets changed\n$/);
      assert.equal(await readFile(security, "utf8"), plain);
      assert.equal((await stat(security)).mode & 0o777, 0o600);
      assert.equal((await run("decrypt", { env })).stdout, "nothing to decrypt\n");
    });
  });

  it("writes nothing with another passphrase", async () => {
    await inHome(CONFIG, async (run, file) => {
      const security = join(dirname(file), ".security.yml");
      await writeFile(security, plain);
      await run("encrypt", { env });
      const sealed = await readFile(security, "utf8");
      const wrong = { ...env, PICOCLAW_KEY_PASSPHRASE: "battery staple" };
      const { code, stderr } = await run("decrypt", { env: wrong });
      assert.equal(code, 78);
      assert.match(stderr, /:5: channel_list\.mqtt\.settings\.password /);
      assert.equal(await readFile(security, "utf8"), sealed);
      assert.equal((await run("decrypt")).code, 2);
    });
  });
});

describe("config", () => {
  it("prints where the file is", async () => {
    await inHome(undefined, async (run, file) => {
      assert.equal((await run("path")).stdout, `${file}\n`);
    });
  });

  it("refuses words that mean nothing", async () => {
    await inHome(CONFIG, async (run) => {
      assert.equal((await run("validate gateway")).code, 2);
      assert.equal((await run("get")).code, 2);
    });
  });
});
