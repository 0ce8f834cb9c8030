import assert from "node:assert/strict";
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { Failure } from "../../src/base/failure.ts";
import type { LoadedConfig, MqttChannel } from "../../src/config/contract.ts";
import { locationOf } from "../../src/config/findings.ts";
import { inspectConfig, loadConfig } from "../../src/config/load.ts";
import type { LoadOptions } from "../../src/config/load.ts";
import { pathText } from "../../src/config/tree.ts";
import type { Origin, Path, Tree } from "../../src/config/tree.ts";

/** A configuration, and where each value came from, by its dotted path. */
export interface TestConfig extends LoadedConfig {
  readonly origins: ReadonlyMap<string, Origin>;
}

/** A PicoClaw home in a temporary folder, real files and all. */
export interface TestHome {
  /** The user's home directory. */
  readonly user: string;
  /** `<user>/.picoclaw`. */
  readonly path: string;
  readonly file: string;
  load(options?: Partial<LoadOptions>): Promise<LoadedConfig | Failure>;
  /** Fails the test where the configuration does not load. */
  loaded(options?: Partial<LoadOptions>): Promise<TestConfig>;
  /** Fails the test where the configuration loads. */
  failed(options?: Partial<LoadOptions>): Promise<Failure>;
}

type Content = string | Uint8Array | object;

/**
 * Runs a test in a home with these files (names relative to `.picoclaw`); objects become JSON. The
 * files must be the same afterwards, without new ones.
 */
export async function inHome(
  files: Readonly<Record<string, Content>>,
  run: (home: TestHome) => Promise<void>,
): Promise<void> {
  const user = await mkdtemp(join(tmpdir(), "picoclaw-config-"));
  const path = join(user, ".picoclaw");
  try {
    await mkdir(path);
    for (const [name, content] of Object.entries(files)) {
      await mkdir(dirname(join(path, name)), { recursive: true });
      await writeFile(join(path, name), bytesOf(content));
    }
    const before = await contents(user);
    await run(testHome(user, path));
    assert.deepEqual(await contents(user), before, "loading changed a file");
  } finally {
    await rm(user, { recursive: true });
  }
}

/** Loads a home of one config.json that must load. */
export async function loadedFrom(
  config: Content,
  options: Partial<LoadOptions> & { readonly security?: string } = {},
): Promise<TestConfig> {
  const { security, ...rest } = options;
  let result: TestConfig | undefined;
  const files = {
    "config.json": config,
    ...(security !== undefined && { ".security.yml": security }),
  };
  await inHome(files, async (home) => {
    result = await home.loaded(rest);
  });
  assert.ok(result);
  return result;
}

/** Loads a home of one config.json that must not load. */
export async function failureFrom(
  config: Content,
  options: Partial<LoadOptions> & { readonly security?: string } = {},
): Promise<Failure> {
  const { security, ...rest } = options;
  let result: Failure | undefined;
  const files = {
    "config.json": config,
    ...(security !== undefined && { ".security.yml": security }),
  };
  await inHome(files, async (home) => {
    result = await home.failed(rest);
  });
  assert.ok(result);
  return result;
}

/** A configuration at version 3 with one enabled channel of type mqtt. */
export function mqttConfig(settings: object = {}, more: object = {}): object {
  return {
    version: 3,
    channel_list: {
      mqtt: {
        enabled: true,
        type: "mqtt",
        settings: { broker: "tcp://broker.lan:1883", agent_id: "kitchen", ...settings },
      },
    },
    ...more,
  };
}

export function firstChannel({ config }: LoadedConfig): MqttChannel {
  const [channel] = config.channels;
  assert.ok(channel, "no channel of type mqtt is enabled");
  return channel;
}

/** Everything that a failure shows to anyone. */
export function allTextOf(failure: Failure): string {
  return [failure.message, failure.why, failure.remedy].filter(Boolean).join("\n");
}

export function warningText({ warnings }: LoadedConfig): string {
  return warnings.map(({ message, remedy }) => `${message} (${remedy ?? ""})`).join("\n");
}

function originsOf(tree: Tree): ReadonlyMap<string, Origin> {
  const origins = new Map<string, Origin>();
  const visit = (node: Tree, path: Path): void => {
    if (path.length > 0) origins.set(pathText(path), node.origin);
    if (node.kind === "branch") {
      for (const [key, child] of node.entries) visit(child, [...path, key]);
    } else if (node.kind === "list") {
      for (const [index, item] of node.items.entries()) visit(item, [...path, index]);
    }
  };
  visit(tree, []);
  return origins;
}

/** `config.json:12`, `environment PICOCLAW_LOG_LEVEL`, `--broker`, `default`. */
export function originText({ origins }: Pick<TestConfig, "origins">, path: string): string {
  const origin = origins.get(path);
  if (origin?.from === "file") return `${basename(origin.file)}:${origin.line}`;
  return origin === undefined ? "default" : locationOf(origin);
}

function testHome(user: string, path: string): TestHome {
  const own = { env: {}, home: user, cwd: user };
  const load: TestHome["load"] = (options) => loadConfig({ ...own, ...options });
  return {
    user,
    path,
    file: join(path, "config.json"),
    load,
    async loaded(options) {
      const result = await load(options);
      if (result instanceof Failure) assert.fail(allTextOf(result));
      const inspected = await inspectConfig({ ...own, ...options });
      assert.ok(!(inspected instanceof Failure));
      return { ...result, origins: originsOf(inspected.tree) };
    },
    async failed(options) {
      const result = await load(options);
      assert.ok(result instanceof Failure, "the configuration loads");
      // Of flags alone it is wrong usage.
      assert.equal(result.code, options?.flags === undefined ? "config" : "usage");
      return result;
    },
  };
}

function bytesOf(content: Content): string | Uint8Array {
  if (typeof content === "string" || content instanceof Uint8Array) return content;
  return JSON.stringify(content, null, 2);
}

async function contents(folder: string): Promise<Record<string, string>> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
  const texts = await Promise.all(files.map((file) => readFile(file, "latin1")));
  return Object.fromEntries(files.map((file, index) => [file, texts[index] ?? ""]));
}
