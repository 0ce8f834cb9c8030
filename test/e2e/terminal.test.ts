import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { echoes, startModelServer } from "../support/model-server.ts";
import { needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import {
  picoclaw,
  quickConfig,
  startClient,
  startGateway,
  startOnTerminal,
  writeConfig,
} from "../support/picoclaw.ts";
import { temporaryFolder } from "../support/temporary.ts";

/** What a device or a model could send to whoever reads along, by what it tries. */
const ATTACKS: Readonly<Record<string, string>> = {
  "changes the title of the window (OSC 0)": "\u001b]0;root@bank\u0007",
  "has the terminal type the title back (CSI 21 t)": "\u001b[21t",
  "writes to the clipboard (OSC 52)": "\u001b]52;c;cm0gLXJmIH4K\u0007",
  "hides where a link leads (OSC 8)":
    "\u001b]8;;http://evil.test\u001b\\\\bank\u001b]8;;\u001b\\\\",
  "moves the cursor up and forges a line": "\u001b[2A\u001b[2K\rnote: all is well\u001b[2B",
  "clears the screen and its history": "\u001b[2J\u001b[3J\u001b[H\u001bc",
  "goes back over its own line": "rm -rf /\rls       ",
  "rubs out what stands there with backspaces": "deny\b\b\b\ballow",
  "rings and switches character sets": "\u0007\u000e\u000f\u001b(0",
  "asks the terminal who it is (DA, DSR, ENQ)": "\u001b[c\u001b[6n\u0005",
  "sends a device control string": "\u001bPq#0;2;0;0;0\u001b\\",
  "uses the eight-bit controls (C1)": "\u009b31m\u009d0;title\u009c\u0090x\u009c\u0085next",
  "turns the direction of text (bidi override)": "user\u202e cod.exe\u202c",
  "isolates text from its direction": "a\u2066b\u2067c\u2068d\u2069\u061c\u200e\u200f",
  "smuggles words in tags": Array.from("ignore all", (letter) =>
    String.fromCodePoint(0xe0000 + letter.charCodeAt(0)),
  ).join(""),
  "smuggles bytes in variation selectors": "x\u{e0100}\u{e0101}\u{e01ef} y\ufe00\ufe01\ufe02",
  "hides words with what has no width": "pass\u200bword\u00ad\u2060\ufeff\u2063\u206a\u180e",
  "hides words with fillers and annotations": "\u3164\u115f\u1160\uffa0\ufff9a\ufffab\ufffb",
  "breaks lines with line separators": "one\u2028two\u2029three\u000bfour\u000cfive",
};

const HOSTILE = `title of the window: ${Object.values(ATTACKS).join(" ~ ")}`;

/** What must not reach a terminal; `\r` stands before each `\n` there, for the terminal makes it so. */
const OBEYED =
  /(?!\r\n|\n|\t)[\p{Cc}\p{Zl}\p{Zp}\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\u00ad\u180e\ufff9-\ufffb\u3164\u115f\u1160\uffa0\u{e0000}-\u{e0fff}]/u;

function assertHarmless(output: string): void {
  const found = OBEYED.exec(output);
  const around = found && output.slice(Math.max(0, found.index - 40), found.index + 40);
  assert.equal(found, null, JSON.stringify(around));
}

const env = { NO_COLOR: "1" };

describe("a terminal", needsMosquitto, () => {
  it("shows what an answer of send tries with it, and obeys nothing", async () => {
    await using home = await temporaryFolder();
    await using model = await startModelServer();
    await using broker = await startMosquitto();
    model.otherwise(echoes());
    const more = {
      version: 3,
      agents: { defaults: { model_name: "m" } },
      model_list: [{ model_name: "m", model: "openai/m", api_base: model.base }],
    };
    await writeConfig(home.path, quickConfig(broker.url, {}, more));
    await using _gateway = await startGateway({ home: home.path });
    const file = join(home.path, "question");
    const questions = [
      ...Object.entries(ATTACKS).map(([name, attack]) => [
        name,
        `${name}: ${attack}`,
        "--no-stream",
      ]),
      ...["--raw", "--json"].map((form) => ["title of the window", HOSTILE, form]),
    ] as const;
    for (const [name = "", question = "", form = ""] of questions) {
      await writeFile(file, question);
      const words = ["send", "kitchen", "-f", file, form];
      await using sent = startOnTerminal(words, { home: home.path, env });
      const { code, stdout } = await sent.ended;
      assert.equal(code, 0, stdout);
      assert.ok(stdout.includes(name), stdout);
      assert.match(stdout, /\\(?:x|u|r|b)/, `${name} is shown`);
      assertHarmless(stdout);
    }
    for (const words of [["show", "kitchen"], ["export", "kitchen"], ["list"]]) {
      await using told = startOnTerminal(["sessions", ...words], { home: home.path, env });
      const { code, stdout } = await told.ended;
      assert.equal(code, 0, stdout);
      assertHarmless(stdout);
    }
    await using agent = startOnTerminal(["agent", "-m", HOSTILE], { home: home.path, env });
    const { stdout } = await agent.ended;
    assert.match(stdout, /window.*/s);
    assertHarmless(stdout);
  });

  it("shows what messages and client ids try with listen, and obeys nothing", async () => {
    await using home = await temporaryFolder();
    await using broker = await startMosquitto();
    await writeConfig(home.path, quickConfig(broker.url));
    await using listening = startOnTerminal(["listen"], { home: home.path, env });
    await listening.said("note: connected");
    for (const [index, [name, attack]] of Object.entries(ATTACKS).entries()) {
      const payloads = [
        JSON.stringify({ text: `${name}: ${attack}`, id: attack }),
        `${name}: ${attack}`,
      ];
      for (const [number, payload] of payloads.entries()) {
        // A broker lets no C0 and C1 controls into a topic; all else a client id may hold.
        const client = `c${index}-${number}${attack.replaceAll(/[\p{Cc}/+#]/gu, "")}`;
        const topic = `/picoclaw/assistant/${client}/request`;
        await publish(broker.port, topic, payload);
        await listening.said(`c${index}-${number}`);
      }
    }
    listening.type("\u0003");
    const { stdout } = await listening.ended;
    const unbroken = stdout.replaceAll(/\s+/g, " ");
    for (const name of Object.keys(ATTACKS)) {
      assert.equal(unbroken.split(`${name}: `).length, 3, `${name} is shown twice`);
    }
    assertHarmless(stdout.replaceAll("^C", ""));
  });

  it("is told of hostile words in errors and in the log without obeying them", async () => {
    await using home = await temporaryFolder();
    await using broker = await startMosquitto();
    await writeConfig(home.path, quickConfig(broker.url));
    const clear = "\u001b[2J\u202e\u009b";
    for (const words of [
      [clear],
      ["send", clear, "x"],
      ["send", "a", "x", "--channel", clear],
      ["help", clear],
    ]) {
      await using wrong = startOnTerminal(words, { home: home.path, env });
      assertHarmless((await wrong.ended).stdout);
    }
    await using gateway = startOnTerminal(["gateway", "--debug", "--log-content"], {
      home: home.path,
      env,
    });
    await gateway.said("connected");
    await publish(
      broker.port,
      "/picoclaw/assistant/kitchen/request",
      JSON.stringify({ text: HOSTILE, id: HOSTILE.slice(0, 100) }),
    );
    await publish(broker.port, "/picoclaw/assistant/kitchen/request", HOSTILE);
    await gateway.said("outcome=bad_request");
    await gateway.said("outcome=ok");
    gateway.type("\u0003");
    const { stdout } = await gateway.ended;
    assertHarmless(stdout.replaceAll("^C", ""));
  });

  it("gets log lines of JSON in which nothing is left to obey", async () => {
    await using home = await temporaryFolder();
    await using broker = await startMosquitto();
    await writeConfig(home.path, quickConfig(broker.url));
    await using gateway = await startGateway({ home: home.path }, ["--log-content"]);
    await publish(
      broker.port,
      "/picoclaw/assistant/kitchen/request",
      JSON.stringify({ text: HOSTILE }),
    );
    await gateway.said("window");
    const line =
      gateway
        .stderr()
        .split("\n")
        .find((text) => text.includes("window")) ?? "";
    assertHarmless(line);
    assert.equal(JSON.parse(line).question, HOSTILE);
  });

  it("does not show the passphrase that it is asked for", async () => {
    await using home = await temporaryFolder();
    const security = join(home.path, ".security.yml");
    await writeFile(security, "channels: {mqtt: {password: hunter22}}\n");
    await using typing = startOnTerminal(["config", "encrypt"], { home: home.path, env });
    await typing.said("Passphrase for the secrets:");
    typing.type("correct horse\r");
    await typing.said("Repeat it:");
    typing.type("correct horse\r");
    const { code, stdout } = await typing.ended;
    assert.equal(code, 0, stdout);
    assert.doesNotMatch(stdout, /correct|horse|hunter/);
    assert.match(stdout, /channels\.mqtt\.password: encrypted/);
    assert.match(await readFile(security, "utf8"), /password: enc:\/\//);
    const check = { PICOCLAW_KEY_PASSPHRASE: "correct horse" };
    const again = await picoclaw(["config", "encrypt"], { home: home.path, env: check });
    assert.equal(again.stdout, "nothing to encrypt\n");
  });

  it("changes nothing where two different passphrases were typed, or none, or Ctrl-C", async () => {
    await using home = await temporaryFolder();
    const security = join(home.path, ".security.yml");
    await writeFile(security, "channels: {mqtt: {password: hunter22}}\n");
    for (const [first, second, exit] of [
      ["one two", "three four", 2],
      ["", undefined, 2],
      ["\u0003", undefined, 130],
    ] as const) {
      await using typing = startOnTerminal(["config", "encrypt"], { home: home.path, env });
      await typing.said("Passphrase for the secrets:");
      typing.type(`${first}\r`);
      if (second !== undefined) {
        await typing.said("Repeat it:");
        typing.type(`${second}\r`);
      }
      const { code, stdout } = await typing.ended;
      assert.equal(code, exit, stdout);
      assert.doesNotMatch(stdout, /one two|three four/);
    }
    assert.match(await readFile(security, "utf8"), /hunter22/);
    const { code, stderr } = await picoclaw(["config", "encrypt"], { home: home.path });
    assert.equal(code, 2);
    assert.match(stderr, /no passphrase.*\ntry: set PICOCLAW_KEY_PASSPHRASE/);
  });
});

async function publish(port: number, topic: string, payload: string): Promise<void> {
  await using sender = startClient("mosquitto_pub", ["-p", `${port}`, "-t", topic, "-s"], payload);
  const { code, stderr } = await sender.ended;
  assert.equal(code, 0, stderr);
}
