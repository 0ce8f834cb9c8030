import assert from "node:assert/strict";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Failure } from "../../../src/base/failure.ts";
import { loadConfig } from "../../../src/config/load.ts";
import { headAndBody, kindOf, textOf } from "../target.ts";
import type { Target, Trial } from "../target.ts";

const KEYS =
  '"version" "channel_list" "channels" "mqtt" "enabled" "type" "settings" "broker" "agent_id" "topic_prefix" "password" "username" "qos" "keep_alive" "tls" "verify" "limits" "total" "allow_from" "deny_from" "model_list" "model_name" "api_keys" "api_key" "model" "provider" "fallbacks" "extra_body" "agents" "defaults" "workspace" "gateway" "port" "host" "log_level" "session" "dimensions" "tools" "exec" "web" "profiles" "providers"';
const WORDS = [
  ...KEYS.split(" "),
  ...'tcp://a:1 mqtt://u:p@b "embedded" [NOT_HERE] file://../x enc://AAAA &a *a <<: --- !!binary ? | > # // /* */ , : "@@SECRET@@" PICOCLAW_CHANNELS_MQTT_QOS= PICOCLAW_GATEWAY_PORT='.split(
    " ",
  ),
];

/** Stands in an input where a secret does, and becomes one when the input is run. */
const MARK = /@@SECRET@@/g;
const SECRET = "pl4nted-5ecret-value";
/** What stands before a secret that is in its place. */
const PLACE = {
  "config.json": /"(?:password|api_key)"\s*:\s*"$|"api_keys"\s*:\s*\[\s*"$/,
  ".security.yml": /^ *(?:password|api_key): ["']?$|^ *api_keys: \[ *["']?$/m,
};

type Name = keyof typeof PLACE;

/** Whether each secret of a file is where a secret belongs: others may be quoted as any value is. */
function isInPlace(name: Name, text: string): boolean {
  return [...text.matchAll(MARK)].every(({ index }) =>
    PLACE[name].test(text.slice(text.lastIndexOf("\n", index) + 1, index)),
  );
}

function environmentIn(text: string): Record<string, string> {
  const lines = text.split("\n").map((line) => /^(PICOCLAW_[A-Z_]+)=(.*)$/.exec(line));
  const named = lines.flatMap((found) => (found === null ? [] : [found]));
  const env = named.map(([, name = "", value = ""]) => [name, value.replaceAll("\0", "")]);
  const entries: Record<string, string> = Object.fromEntries(env);
  delete entries["PICOCLAW_HOME"];
  delete entries["PICOCLAW_CONFIG"];
  return entries;
}

async function open(): Promise<Trial> {
  const home = await mkdtemp(join(tmpdir(), "picoclaw-fuzz-config-"));
  const folder = join(home, ".picoclaw");
  await mkdir(folder);
  return {
    async run(input) {
      const [config, rest] = headAndBody(input);
      const [security, environment] = headAndBody(rest);
      const files: Record<Name, string> =
        config === "" && security === ""
          ? { "config.json": Buffer.from(input).toString("latin1"), ".security.yml": "" }
          : { "config.json": config, ".security.yml": security };
      const env = environmentIn(textOf(environment));
      for (const [name, text] of Object.entries(files)) {
        await writeFile(join(folder, name), text.replaceAll(MARK, SECRET), {
          encoding: "latin1",
          mode: 0o600,
        });
      }
      const result = await loadConfig({ env, home, cwd: home });
      assert.deepEqual(Object.keys(Object.prototype), [], "every object has a new key");
      const isKept =
        isInPlace("config.json", files["config.json"]) &&
        isInPlace(".security.yml", files[".security.yml"]);
      const said = wordsOf(result);
      if (isKept) assert.ok(!said.includes(SECRET), `a secret is told: ${said.slice(0, 500)}`);
      assert.ok(said.length < 200_000, "the words have no end");
      assert.deepEqual((await readdir(folder)).toSorted(), [".security.yml", "config.json"]);
      const after = await readFile(join(folder, "config.json"), "latin1");
      assert.equal(after, files["config.json"].replaceAll(MARK, SECRET), "the file was changed");
      return outcomeOf(result);
    },
    close: () => rm(home, { recursive: true }),
  };
}

type Loaded = Awaited<ReturnType<typeof loadConfig>>;

function wordsOf(result: Loaded): string {
  if (result instanceof Failure) {
    assert.equal(result.code, "config");
    return [result.message, result.why, result.remedy].join("\n");
  }
  return result.warnings.map(({ message, remedy }) => `${message}\n${remedy}`).join("\n");
}

function outcomeOf(result: Loaded): string {
  if (result instanceof Failure) {
    return plainKind((result.why ?? result.message).split("\n")[0] ?? "");
  }
  const kinds = new Set(result.warnings.map(({ message }) => plainKind(message).slice(-40)));
  return `loads ${result.config.channels.length} ${[...kinds].toSorted().slice(0, 3).join(" ")}`;
}

/** Without the place that it is about. */
function plainKind(message: string): string {
  return kindOf(message.replaceAll(/\S*\.(?:json|yml)\S*|\S+:(?= )/g, ""));
}

export const CONFIG: Target = {
  name: "config",
  about:
    "a home loads or is a failure that names what is wrong, tells no secret and writes nothing",
  material: { words: WORDS, json: true, lines: true, most: 32_768 },
  linear: true,
  open,
};
