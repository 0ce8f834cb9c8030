import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import * as fc from "fast-check";
import type { PromptMessage } from "../../../src/agent/model/contract.ts";
import { collect, modelEntry, questionOf } from "../../support/agent-config.ts";
import { refuses, sends, sendsEvents, startModelServer } from "../../support/model-server.ts";
import type { Behaviour, ModelServer } from "../../support/model-server.ts";
import { openTestModels } from "../../support/model.ts";
import { FLAVOURS, violationsIn } from "../../support/pairing-servers.ts";
import type { Flavour } from "../../support/pairing-servers.ts";
import { runs } from "../../support/runs.ts";

interface Round {
  readonly text: string;
  readonly calls: number;
  /** The server that is asked for it fails, and the next one gives it. */
  readonly fails: boolean;
  /** After it, the turn begins again from what the store has: without reasoning. */
  readonly crashes: boolean;
  /** The results have images. */
  readonly shows: boolean;
}

interface TurnScript {
  /** The place of the entry that the conversation switches to. */
  readonly entry: number;
  readonly text: string;
  readonly rounds: readonly Round[];
}

const TOOL = { name: "device", description: "facts", parameters: { type: "object" } };
const SHOWN = { images: [{ mediaType: "image/png", data: "AAAA" }] } as const;
const IMAGES = /^\[The images of the tool results above/;
const PREFACE = "[It is Monday. The question follows.]";
const NOTHING = "(nothing was said)";

/** Plays a conversation with entries of these flavours; returns what was wrong with a request. */
async function play(server: ModelServer, names: readonly string[], turns: readonly TurnScript[]) {
  const servers = names.map((name, index) => createServer(server, name, index));
  const fallbacks = servers.map(({ entry }) => entry.model_name);
  const defaults = { model_fallbacks: fallbacks, max_llm_retries: 0, max_tokens: 0 };
  const { models, clock } = openTestModels(
    servers.map(({ entry }) => entry),
    defaults,
  );
  let history: PromptMessage[] = [];
  const violations: string[] = [];
  for (const { entry, text, rounds } of turns) {
    clock.move(3 * 3_600_000);
    models.switchTo(fallbacks[entry % fallbacks.length] ?? "");
    history.push({ role: "user", text, preface: PREFACE });
    const questions = history.flatMap((one) => (one.role === "user" ? [one.text] : []));
    const left = [...rounds, undefined];
    let failing = rounds.map(({ fails }) => fails);
    server.otherwise(async (request, response) => {
      const index = Number(/^\/e(\d)\//.exec(request.path)?.[1]);
      const one = servers[index] ?? assert.fail(request.path);
      const refusal = one.flavour.refusal?.(request.body);
      if (refusal !== undefined)
        return await refuses(400, { error: { message: refusal } })(request, response);
      violations.push(
        ...one.check(request.body, questions).map((what) => `${names[index]}: ${what}`),
      );
      const [fails = false] = failing;
      failing = [false, ...failing.slice(1)];
      if (fails) return await refuses(503)(request, response);
      failing = failing.slice(1);
      await one.answer(left.shift())(request, response);
    });
    const ask = models.forTurn({ history: [], text });
    for (const round of [...rounds, undefined]) {
      const { result } = await collect(ask({ ...questionOf(), messages: history, tools: [TOOL] }));
      const { toolCalls, reasoning } = result;
      assert.equal(toolCalls.length, round?.calls ?? 0);
      history.push({
        role: "assistant",
        text: result.text,
        toolCalls,
        ...(reasoning !== undefined && { reasoning }),
      });
      for (const { id, name } of toolCalls)
        history.push({
          role: "tool",
          callId: id,
          name,
          text: "42",
          ...(round?.shows === true && SHOWN),
        });
      if (round?.crashes !== false) history = stored(history);
    }
  }
  return violations;
}

function stored(messages: readonly PromptMessage[]): PromptMessage[] {
  return JSON.parse(
    JSON.stringify(messages, (name, value: unknown) => (name === "reasoning" ? undefined : value)),
  );
}

/** One entry, and its server with what it has given. */
function createServer(server: ModelServer, name: string, index: number) {
  const flavour: Flavour = FLAVOURS[name] ?? assert.fail(name);
  const given = new Set<string>();
  const { signature = `signed-by-e${index}.`, binary } = flavour;
  const base = `${new URL(server.base).origin}/e${index}/v1`;
  return {
    flavour,
    entry: modelEntry({ ...flavour.entry, model_name: `e${index}`, api_base: base }),
    check(body: unknown, questions: readonly string[]): string[] {
      const steps = flavour.steps(body);
      const found = violationsIn(steps, given, flavour);
      const sent = JSON.stringify(body);
      const foreign = [...sent.matchAll(/signed-by-(?:e\d\.|bedrock)/g)].some(
        ([one]) => one !== signature,
      );
      if (foreign) found.push("another's signature");
      if (sent.includes("__thought__") && given.size === 0) found.push("another's id");
      const said = steps.flatMap((one) => (one.role === "user" ? (one.texts.at(-1) ?? "") : []));
      const asked = said.filter((text) => text !== PREFACE && !IMAGES.test(text));
      const isBlank = (text: string): boolean => flavour.refusedText?.test(text) === true;
      const wanted = questions.map((text) => (isBlank(text) ? NOTHING : text));
      if (JSON.stringify(asked) !== JSON.stringify(wanted))
        found.push(`the user said ${JSON.stringify(steps)} for ${JSON.stringify(questions)}`);
      return found;
    },
    answer(round: Round | undefined): Behaviour {
      const toolCalls = Array.from({ length: round?.calls ?? 0 }, (_, position) => {
        const id = flavour.newId(position);
        given.add(id);
        return { id, name: "device", arguments: `{"at":${position}}` };
      });
      const text = round?.text ?? "It is 42.";
      const answer = { ...(text !== "" && { text: [text] }), toolCalls };
      const events = flavour.events(answer, signature);
      if (binary === undefined) return sendsEvents(events);
      return sends(Buffer.from(events.join(""), "latin1"), { type: binary });
    },
  };
}

const NAMES = Object.keys(FLAVOURS);
const CALM = { text: "", calls: 1, fails: false, crashes: false, shows: false };

const roundOf = fc.record({
  text: fc.constantFrom("", "One moment."),
  calls: fc.integer({ min: 1, max: 3 }),
  fails: fc.boolean(),
  crashes: fc.boolean(),
  shows: fc.boolean(),
});
const turnOf = fc.record({
  entry: fc.nat(2),
  text: fc.oneof(fc.string({ unit: "grapheme" }), fc.constantFrom(" ", "How warm?\n")),
  rounds: fc.array(roundOf, { maxLength: 3 }),
});

describe("the requests of a conversation", () => {
  let server: ModelServer;
  before(async () => {
    server = await startModelServer({ forgets: true });
  });
  after(() => server.close());

  for (const first of NAMES) {
    it(`with ${first}, which falls back and switches to each other server and back, are in order`, async () => {
      const side = { ...CALM, text: "One moment.", calls: 2, shows: true };
      for (const second of NAMES) {
        const violations = await play(
          server,
          [first, second],
          [
            { entry: 0, text: "One?", rounds: [CALM, side, { ...side, fails: true }, CALM] },
            { entry: 1, text: "Two?", rounds: [side, { ...CALM, crashes: true }, side] },
            { entry: 0, text: " Three? ", rounds: [side, CALM, { ...CALM, fails: true }, CALM] },
          ],
        );
        assert.deepEqual(violations, [], `${first} and ${second}`);
      }
    });
  }

  it("with any rounds of tools, switches, fallbacks and crashes, are in order", async () => {
    const names = fc.uniqueArray(fc.constantFrom(...NAMES), { minLength: 2, maxLength: 3 });
    const turns = fc.array(turnOf, { minLength: 1, maxLength: 4 });
    const property = fc.asyncProperty(names, turns, async (some, script) => {
      assert.deepEqual(await play(server, some, script), []);
    });
    await fc.assert(property, { numRuns: runs(60) });
  });
});
