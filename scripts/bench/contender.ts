import { spawnSync } from "node:child_process";
import { mkdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Answering, Link } from "../../test/support/bare-device.ts";
import {
  NO_LIMITS,
  quickConfig,
  startClient,
  startPicoclaw,
  writeConfig,
} from "../../test/support/picoclaw.ts";
import type { Running } from "../../test/support/picoclaw.ts";

/** Who answers requests on a broker. */
export interface Contender extends Answering {
  /** A question that is answered without a model. */
  readonly command: string;
  /** Starts it; it is not subscribed yet. */
  start(setup: Setup): Promise<Running>;
}

export interface Setup extends Link {
  /** A folder that only this run has. */
  readonly home: string;
  /** The base of an OpenAI-compatible server. */
  readonly model?: string | undefined;
  /** A file with the body of a request to the model, for a contender that does not build its own. */
  readonly question?: string | undefined;
  /** Turns at the same time. */
  readonly turns?: number;
  readonly env?: Readonly<Record<string, string>>;
  /** A command that becomes the program. */
  readonly within?: readonly string[];
}

const PREFIX = "/picoclaw/assistant";
process.env["PICOCLAW_UNDER_TEST"] = "binary";

export const picoclaw: Contender = {
  name: "picoclaw",
  prefix: PREFIX,
  saysDone: true,
  command: "/help",
  async start(setup) {
    await prepare(setup);
    const { home, env = {}, within = [] } = setup;
    return startPicoclaw(["gateway"], { home, env, within });
  },
};

/** A Go picoclaw where `picoclaw-go` is in PATH. */
export const goPicoclaw: Contender | undefined = isThere("picoclaw-go")
  ? {
      name: "Go",
      prefix: PREFIX,
      saysDone: false,
      command: "/help",
      async start(setup) {
        await prepare(setup);
        const home = `PICOCLAW_HOME=${setup.home}`;
        return startClient("env", [home, "PICOCLAW_GATEWAY_PORT=0", "picoclaw-go", "gateway"]);
      },
    }
  : undefined;

/** The same work in C on libmosquitto and libcurl; undefined where it cannot be built. */
export function buildReference(): Contender | undefined {
  const program = join(tmpdir(), "picoclaw-bench-reference");
  const source = join(import.meta.dirname, "reference.c");
  const flags = ["-O2", "-D_GNU_SOURCE", "-o", program, source, "-lmosquitto", "-lcurl"];
  const { status, error } = spawnSync("gcc", flags, { stdio: "ignore" });
  if (error !== undefined || status !== 0) return undefined;
  return {
    name: "C",
    prefix: "/reference",
    saysDone: true,
    command: "/help",
    start: ({ port, qos, version, model, question }) => {
      const words = ["127.0.0.1", port, qos, version, model, question];
      const given = words.filter((word) => word !== undefined).map(String);
      return Promise.resolve(startClient(program, given));
    },
  };
}

async function prepare({ port, home, qos, version, model, turns = 16 }: Setup): Promise<void> {
  const defaults = {
    workspace: join(home, "workspace"),
    max_parallel_turns: turns,
    summarize_message_threshold: 0,
    summarize_token_percent: 0,
    ...(model !== undefined && { model_name: "m" }),
  };
  const entry = { model_name: "m", model: "openai/m", api_base: model, api_keys: ["sk-bench"] };
  const more = { agents: { defaults }, ...(model !== undefined && { model_list: [entry] }) };
  await mkdir(defaults.workspace, { recursive: true });
  const settings = { qos, protocol_version: version, limits: NO_LIMITS };
  await writeConfig(home, quickConfig(`tcp://127.0.0.1:${port}`, settings, more));
}

function isThere(program: string): boolean {
  return spawnSync("which", [program], { stdio: "ignore" }).status === 0;
}
