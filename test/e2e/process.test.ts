import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { it } from "node:test";
import { answers, startModelServer } from "../support/model-server.ts";
import { needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import {
  picoclaw,
  quickConfig,
  startGateway,
  startPicoclaw,
  writeConfig,
  temporaryHome,
} from "../support/picoclaw.ts";
import { temporaryFolder } from "../support/temporary.ts";

const compiled = { skip: process.env["PICOCLAW_UNDER_TEST"] !== "binary" };

it(
  "the compiled binary obeys no .env and no bunfig.toml of the folder it is started in",
  compiled,
  async () => {
    await using folder = await temporaryFolder();
    await writeFile(join(folder.path, ".env"), "PICOCLAW_CHANNELS_MQTT_QOS=9\n");
    await writeFile(join(folder.path, "bunfig.toml"), 'preload = ["./evil.ts"]\n');
    await writeFile(join(folder.path, "evil.ts"), 'console.log("evil");\n');
    const { code, stdout, stderr } = await picoclaw(["try", "uptime"], {
      home: folder.path,
      cwd: folder.path,
    });
    assert.equal(code, 0, stderr);
    assert.ok(!stdout.includes("evil"));
  },
);

it("a gateway without a channel still names the key that is misspelt", async () => {
  await using home = await temporaryHome({ channel_lst: {} });
  const { code, stderr } = await picoclaw(["gateway"], { home: home.path });
  assert.equal(code, 78);
  assert.match(stderr, /channel_lst.*channel_list/);
});

it("a large answer reaches a slow reader whole", needsMosquitto, async () => {
  await using model = await startModelServer();
  await using broker = await startMosquitto();
  await using home = await temporaryFolder();
  const text = "0123456789abcde ".repeat(40_000).trim();
  model.otherwise(answers(text));
  const model_list = [{ model_name: "m", model: "openai/m", api_base: model.base }];
  const config = quickConfig(
    broker.url,
    {},
    { agents: { defaults: { model_name: "m" } }, model_list },
  );
  await writeConfig(home.path, config);
  await using _gateway = await startGateway({ home: home.path });
  await using sender = startPicoclaw(["send", "device1", "tell all"], {
    home: home.path,
    paused: true,
  });
  await model.received(0);
  sender.resume();
  const { code, stdout, stderr } = await sender.ended;
  assert.equal(code, 0, stderr);
  assert.equal(stdout.length, text.length + 1);
  assert.equal(stdout, `${text}\n`);
});

it("a reader that leaves after the first line is no failure", needsMosquitto, async () => {
  await using broker = await startMosquitto();
  await using home = await temporaryHome(quickConfig(broker.url));
  await using _gateway = await startGateway({ home: home.path });
  await using listener = startPicoclaw(["listen"], { home: home.path, readLines: 1 });
  await listener.said("connected");
  for (let index = 0; index < 3; index += 1) {
    const sent = await picoclaw(["send", "device1", "uptime"], { home: home.path });
    assert.equal(sent.code, 0, sent.stderr);
  }
  const { code, stderr } = await listener.ended;
  assert.equal(code, 0, stderr);
  assert.ok(!stderr.includes("error"), stderr);
});

it(
  "the password file and the environment keep the password out of the process list",
  needsMosquitto,
  async () => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, "passwords");
    const password = "pass-word-that-nobody-sees";
    const made = spawn("mosquitto_passwd", ["-b", "-c", file, "ann", password], {
      stdio: "ignore",
    });
    await once(made, "exit");
    await using broker = await startMosquitto({
      lines: ["listener {port} 127.0.0.1", "allow_anonymous false", `password_file ${file}`],
    });
    await writeFile(join(folder.path, "word"), `${password}\n`);
    const flags = ["--broker", broker.url, "--agent", "assistant", "--user", "ann"];
    const withFile = [...flags, "--password-file", join(folder.path, "word")];
    await using gateway = await startGateway({ home: folder.path }, withFile);
    const env = { PICOCLAW_CHANNELS_MQTT_PASSWORD: password };
    const sent = await picoclaw(["send", ...flags, "device1", "uptime"], {
      home: folder.path,
      env,
    });
    assert.equal(sent.code, 0, sent.stderr);
    const wrong = await picoclaw(["send", ...flags, "device1", "uptime"], {
      home: folder.path,
      env: { PICOCLAW_CHANNELS_MQTT_PASSWORD: "wrong-one" },
    });
    assert.equal(wrong.code, 5, wrong.stderr);
    for (const output of [gateway.stderr(), sent.stderr, wrong.stderr]) {
      assert.ok(!output.includes(password) && !output.includes("wrong-one"), output);
    }
  },
);
