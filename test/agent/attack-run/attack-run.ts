import assert from "node:assert/strict";
import { join } from "node:path";
import { runCommandLine } from "../../../src/cli/cli.ts";
import { createFakeHost } from "../../cli/host.ts";
import { startModelServer } from "../../support/model-server.ts";
import { freePort } from "../../support/mosquitto.ts";
import { temporaryFolder } from "../../support/temporary.ts";
import { until } from "../../support/until.ts";
import { assertFiles } from "../scenario.ts";
import { readAttack } from "./attack.ts";
import type { Attack, Step } from "./attack.ts";
import { send } from "./http.ts";
import { assertLeft, assertLog, assertOthersServed, assertUnchanged, look } from "./outcome.ts";
import { prepareScene, MODEL_KEY, placesOf } from "./scene.ts";
import type { Scene } from "./scene.ts";
import { answerAs, askIn, hear, publish } from "./steps.ts";
import { openOutside } from "./surroundings.ts";
import type { Surroundings } from "./surroundings.ts";

/** The whole program with a device of its own, in the hands of attackers. */
export interface AttackRun extends AsyncDisposable {
  readonly attack: Attack;
  /** Lives one step. */
  live(step: Step): Promise<void>;
  /** What must hold when all is over; asks once more, as somebody else, to see that others are served. */
  verify(): Promise<void>;
}

interface Program {
  readonly log: () => string;
  end(): Promise<void>;
}

let runs = 0;

export async function openAttackRun(file: string, surroundings: Surroundings): Promise<AttackRun> {
  await using opening = new AsyncDisposableStack();
  const folder = opening.use(await temporaryFolder());
  const server = opening.use(await startModelServer());
  let pages: Attack["web"] = {};
  const outside = opening.use(await openOutside("127.0.0.1", (path) => pages[path]));
  const inside = opening.use(await openOutside("127.0.0.2", () => "INNER SECRET"));
  runs += 1;
  const root = join(folder.path, "device");
  const port = await freePort();
  const places = placesOf({ root, server, outside, inside, base: `/picoclaw/run${runs}`, port });
  const attack = await readAttack(file, places);
  pages = attack.web;
  const isNamed = JSON.stringify(attack.files).includes(`${port}`);
  const env = {
    PICOCLAW_HOME: join(root, "home"),
    OPENAI_API_KEY: MODEL_KEY,
    // One that the attack has to know; all others take a free one.
    ...(isNamed && { PICOCLAW_GATEWAY_PORT: `${port}` }),
  };
  const scene = { attack, surroundings, server, outside, inside, root, base: places.agent, env };
  await prepareScene(scene, `run${runs}`);
  const clock = opening.use(openClock());
  opening.defer(answerAs(attack.agents, surroundings));
  const logs: string[] = [];
  let program = await startProgram(scene);
  const from = surroundings.heard.length;
  let began = from;
  const before = await look(root);
  opening.defer(() => program.end());
  const closing = opening.move();
  return {
    attack,
    async live(step) {
      if ("asks" in step) {
        const earlier = summariesIn(program.log());
        await askIn(step, scene);
        const more = step.model.filter(({ summarizes }) => summarizes !== undefined).length;
        await until("the conversation is summarized", () => {
          return summariesIn(program.log()) >= earlier + more;
        });
      } else if ("finds" in step) await assertFiles(step.finds, root);
      else if ("heard" in step) await hear(step.heard, surroundings, began);
      else if ("publishes" in step) await publish(step.publishes, scene);
      else if ("later" in step) clock.pass(step.later * 60_000);
      else if ("http" in step) await send(step.http, scene, await portOf(program));
      else {
        logs.push(program.log());
        await program.end();
        began = surroundings.heard.length;
        program = await startProgram(scene);
      }
    },
    async verify() {
      await assertOthersServed(scene);
      await assertUnchanged(scene, before);
      assertLeft(scene, from);
      assertLog([...logs, program.log()].join(""), attack);
    },
    [Symbol.asyncDispose]: () => closing.disposeAsync(),
  };
}

/** The time of this process, which can be set forward until the end. */
function openClock(): Disposable & { readonly pass: (milliseconds: number) => void } {
  const { now } = Date;
  let passed = 0;
  return {
    pass(milliseconds) {
      passed += milliseconds;
      Object.assign(Date, { now: () => now() + passed });
    },
    [Symbol.dispose]: () => Object.assign(Date, { now }),
  };
}

/** Where the gateway listens. */
async function portOf({ log }: Program): Promise<number> {
  const port = (): string | undefined => /"health":"http:\/\/127\.0\.0\.1:(\d+)/.exec(log())?.[1];
  await until("the gateway says where it listens", () => port() !== undefined);
  return Number(port());
}

/** A summary that the model gave takes effect only once it is stored, which the log says. */
function summariesIn(log: string): number {
  return log.split('"msg":"conversation summarized"').length - 1;
}

async function startProgram({ env, attack }: Scene): Promise<Program> {
  const host = createFakeHost(["gateway", "--log-level", "debug"], { env });
  const ended = runCommandLine(host);
  const log = (): string => host.stderr.text();
  await until(`the gateway is connected: ${log()}`, () => log().includes('"msg":"connected"'));
  if (JSON.stringify(attack.config).includes('"watch":')) {
    await until("topics are watched", () => log().includes('"msg":"topics are watched"'));
  }
  if (JSON.stringify(attack.config).includes('"a2a":')) {
    await until("A2A is served", () => log().includes('"channel":"mqtt a2a"'));
  }
  let stopped: Promise<number> | undefined;
  return {
    log,
    async end() {
      if (stopped === undefined) host.signal("SIGTERM");
      stopped ??= ended;
      assert.equal(await stopped, 0, log());
    },
  };
}
