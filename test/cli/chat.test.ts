import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Answerer, Message, Turn, Turned } from "../../src/agent/contract.ts";
import { Failure } from "../../src/base/failure.ts";
import { createRedactor } from "../../src/base/redaction/redactor.ts";
import { parseCommandLine } from "../../src/cli/args/parse.ts";
import { answerMessage, runChat } from "../../src/cli/chat.ts";
import { createSpinner } from "../../src/cli/terminal/spinner.ts";
import { loadConfig } from "../../src/config/load.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { until } from "../support/until.ts";
import { createFakeHost } from "./host.ts";
import { createMemoryOutput } from "./memory.ts";

/** An answerer that yields these pieces and remembers what it was asked. */
function createScripted(pieces: readonly string[], turns: Turn[] = []): Answerer {
  return async function* (turn) {
    turns.push(turn);
    for (const piece of pieces) yield await Promise.resolve(piece);
    return {
      messages: [
        { role: "user", text: turn.text },
        { role: "assistant", text: pieces.join("") },
      ],
    };
  };
}

/** An answerer that says this and then thinks until it is told to stop. */
function createStuck(pieces: readonly string[]): Answerer {
  return async function* ({ signal }) {
    yield* pieces;
    await new Promise((_, reject) => {
      signal.addEventListener("abort", () => reject(new Error("aborted")));
    });
    return { messages: [] };
  };
}

function createConversation(answerer: Answerer, isTTY = false) {
  const said: Message[] = [];
  const stop = new AbortController();
  const stdout = createMemoryOutput({ isTTY });
  const history = () => Promise.resolve([...said]);
  const append = ({ messages }: Turned) => {
    said.push(...messages);
    return Promise.resolve();
  };
  const facts = { answerer, client: "cli:test", timeoutMs: 60_000, stdout, signal: stop.signal };
  return { ...facts, history, append, said, stop };
}

describe("a conversation", () => {
  it("prints each answer as one paragraph and hands on what was said before", async () => {
    const turns: Turn[] = [];
    const histories: (readonly Message[])[] = [];
    const scripted = createScripted(["one", " two"], turns);
    const conversation = createConversation(async function* (turn) {
      histories.push(await turn.history());
      return yield* scripted(turn);
    });
    await answerMessage(conversation, "first");
    await answerMessage(conversation, "second");
    assert.equal(conversation.stdout.text(), "one two\none two\n");
    assert.deepEqual(
      turns.map(({ text }) => text),
      ["first", "second"],
    );
    assert.deepEqual(
      turns.map(({ client }) => client),
      ["cli:test", "cli:test"],
    );
    assert.deepEqual(
      turns.map(({ isRemote, isAdmin }, at) => [histories[at]?.length, isRemote, isAdmin]),
      [
        [0, false, true],
        [2, false, true],
      ],
    );
  });

  it("shows controls on a terminal only", async () => {
    const terminal = createConversation(createScripted(["\u001b[2Ja\n"]), true);
    await answerMessage(terminal, "x");
    assert.equal(terminal.stdout.text(), "\\x1b[2Ja\n");
    const pipe = createConversation(createScripted(["\u001b[2Ja\n"]));
    await answerMessage(pipe, "x");
    assert.equal(pipe.stdout.text(), "\u001b[2Ja\n");
  });

  it("ends with no_answer when the time is over before the first word, with cut_off after it", async () => {
    const cases = [
      { pieces: [], code: "no_answer" },
      { pieces: ["well"], code: "cut_off" },
    ];
    for (const { pieces, code } of cases) {
      const conversation = { ...createConversation(createStuck(pieces)), timeoutMs: 5 };
      await assert.rejects(answerMessage(conversation, "x"), { name: "Failure", code });
      assert.equal(conversation.stdout.text(), pieces.length === 0 ? "" : "well\n");
    }
  });

  it("ends with the signal's reason, however the answerer takes it", async () => {
    const conversation = createConversation(createStuck(["well"]));
    const ended = answerMessage(conversation, "x");
    setImmediate(() => conversation.stop.abort(new Failure("interrupted", "interrupted")));
    await assert.rejects(ended, { code: "interrupted" });
    assert.equal(conversation.said.length, 0);
  });

  it("ends with the answerer's own failure", async () => {
    const thrown = new Failure("model", "the model could not be reached");
    // oxlint-disable-next-line require-yield -- it fails before its first word
    const conversation = createConversation(async function* () {
      await Promise.resolve();
      throw thrown;
    });
    await assert.rejects(answerMessage(conversation, "x"), thrown);
  });
});

describe("a chat", () => {
  it("survives an interrupt of an answer, and says so", async () => {
    await using folder = await temporaryFolder();
    const host = createFakeHost(["agent"], { env: { PICOCLAW_HOME: folder.path } });
    const interrupts: (() => void)[] = [];
    const { signal } = new AbortController();
    const context = {
      host,
      words: [],
      flags: parseCommandLine(["agent"]).flags,
      signal,
      onNextInterrupt(run: () => void) {
        interrupts.push(run);
        return () => {};
      },
      redactor: createRedactor([]),
    };
    const loaded = await loadConfig({ ...host, flags: {} });
    if (loaded instanceof Failure) throw loaded;
    const stuck = createStuck(["first piece"]);
    const whole = createScripted(["whole"]);
    const conversation = createConversation((turn) =>
      turn.text === "stuck" ? stuck(turn) : whole(turn),
    );
    const spinner = createSpinner(host, context.flags);
    const chatted = runChat(conversation, context, { config: loaded.config, spinner });
    host.stdin.stream.push("stuck\n");
    await until("it is asked", () => conversation.stdout.text() === "first piece");
    interrupts[0]?.();
    await until("it is told", () => host.stderr.text().includes("note: the answer was stopped\n"));
    host.stdin.stream.push("next\n");
    await until("it answers", () => conversation.stdout.text() === "first piece\nwhole\n");
    host.stdin.stream.push("exit\n");
    await chatted;
    assert.match(host.stderr.text(), /^picoclaw .* · offline agent · cli:test\n\/help/);
    assert.equal(conversation.said.length, 2);
  });
});
