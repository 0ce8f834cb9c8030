import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { openAgent } from "../../../src/agent/agent.ts";
import type { Message, Turn } from "../../../src/agent/contract.ts";
import { Failure } from "../../../src/base/failure.ts";
import { SILENT } from "../../../src/base/log.ts";
import { agentConfig, collect, modelEntry } from "../../support/agent-config.ts";
import { JPEG, jpegOf, PNG } from "../../support/images.ts";
import {
  answers,
  calls,
  dialogueOf,
  refuses,
  resets,
  startModelServer,
} from "../../support/model-server.ts";
import type { ModelServer } from "../../support/model-server.ts";
import { temporaryFolder } from "../../support/temporary.ts";

let server: ModelServer;
let folder: Awaited<ReturnType<typeof temporaryFolder>>;
beforeEach(async () => {
  [server, folder] = await Promise.all([startModelServer(), temporaryFolder()]);
});
afterEach(async () => {
  await server.close();
  await folder[Symbol.asyncDispose]();
});

const photo = jpegOf(640, 480, 41_984);
const image = { mediaType: "image/jpeg", data: photo.toString("base64") } as const;
const NOTE = "[an image of 640 x 480, image/jpeg, 41 KB was here]";

function openTestAgent(hasModel = true) {
  const entries = hasModel ? [modelEntry({ api_base: server.base })] : [];
  const config = agentConfig(entries, { workspace: folder.path, max_llm_retries: 0 });
  return openAgent({ config, log: SILENT });
}

function turnOf(turn: Partial<Turn>): Turn {
  const { signal } = new AbortController();
  return { history: async () => [], text: "What is this?", client: "c", signal, ...turn };
}

const said = () => JSON.stringify(server.requests.at(-1)?.body.messages);

describe("an image of a question", () => {
  it("is seen by each model call of its turn, and later there is a note in its place", async () => {
    const agent = await openTestAgent();
    server.script(calls({ name: "device", arguments: '{"facts":["time"]}' }), answers("a cat"));
    const { result } = await collect(agent.answer(turnOf({ images: [image] })));
    for (const { body } of server.requests) {
      assert.ok(JSON.stringify(body.messages).includes(image.data));
    }
    const [question] = result.messages;
    assert.ok(question?.role === "user" && question.text === `${NOTE}\nWhat is this?`);
    assert.ok(!JSON.stringify(result.messages).includes(image.data.slice(0, 100)));
    server.script(answers("yes"));
    await collect(agent.answer(turnOf({ text: "Sure?", history: async () => result.messages })));
    const [before] = dialogueOf(server.requests.at(-1)?.body.messages);
    assert.equal(before?.content, `${NOTE}\nWhat is this?`);
    await agent.close();
  });

  it("is there again for an attempt after a crash", async () => {
    const agent = await openTestAgent();
    server.script(answers("a cat"));
    await collect(agent.answer(turnOf({ images: [image], resumed: [] })));
    assert.ok(said().includes(image.data));
    await agent.close();
  });

  it("is an error without a model, and when no model can be reached", async () => {
    for (const [hasModel, words] of [
      [false, /no model is configured that could look at an image/],
      [true, /could not be reached|broke off/],
    ] as const) {
      const agent = await openTestAgent(hasModel);
      server.otherwise(resets());
      await assert.rejects(
        collect(agent.answer(turnOf({ text: "CPU usage?", images: [image] }))),
        (thrown) =>
          thrown instanceof Failure && thrown.code === "model" && words.test(thrown.message),
      );
      await agent.close();
    }
  });
});

const load = (path: string, name = "load_image") => ({
  id: path,
  name,
  arguments: JSON.stringify({ path }),
});

describe("an image file", () => {
  it("is shown to the model that loads it, and not stored", async () => {
    await writeFile(join(folder.path, "photo.jpg"), photo);
    const agent = await openTestAgent();
    server.script(calls(load("photo.jpg")), answers("a cat"));
    const recorded: Message[] = [];
    const record = async (message: Message) => void recorded.push(message);
    const { result } = await collect(agent.answer(turnOf({ record })));
    assert.ok(said().includes(image.data));
    const stored = JSON.stringify([result.messages, recorded]);
    assert.ok(!stored.includes(image.data.slice(0, 100)));
    assert.match(stored, /photo.jpg: an image of 640 x 480, image\/jpeg, 41 KB; it is shown/);
    await agent.close();
  });

  it("is one of four at most in one answer", async () => {
    const names = ["a", "b", "c", "d", "e"];
    await Promise.all(names.map((name) => writeFile(join(folder.path, name), PNG)));
    const agent = await openTestAgent();
    server.script(calls(...names.map((name) => load(name))), answers("five"));
    await collect(agent.answer(turnOf({})));
    assert.equal(said().split(PNG.toString("base64")).length, 5);
    assert.match(said(), /no answer can look at more than 4 image files/);
    await agent.close();
  });

  it("is refused if it is too large or something else", async () => {
    await writeFile(join(folder.path, "large"), Buffer.concat([JPEG, Buffer.alloc(3 * 2 ** 20)]));
    await writeFile(join(folder.path, "gif"), Buffer.from("GIF89a\0\0", "latin1"));
    const agent = await openTestAgent();
    server.script(calls(load("large"), load("gif")), answers("no"));
    await collect(agent.answer(turnOf({})));
    assert.match(said(), /only images of at most 3145728 bytes can be shown/);
    assert.match(said(), /gif is not an image that can be shown/);
    await agent.close();
  });

  it("is named by read_file, which reads text", async () => {
    await writeFile(join(folder.path, "photo.jpg"), photo);
    const agent = await openTestAgent();
    server.script(calls(load("photo.jpg", "read_file")), answers("an image"));
    await collect(agent.answer(turnOf({})));
    assert.match(said(), /photo.jpg is an image, not text: load_image shows it/);
    await agent.close();
  });

  it("that a model cannot see ends nothing: it is told so, and answers", async () => {
    await writeFile(join(folder.path, "photo.jpg"), photo);
    const agent = await openTestAgent();
    const blind = { error: { message: "this model does not support image input" } };
    server.script(calls(load("photo.jpg")), refuses(400, blind), answers("I cannot see it"));
    const { result, text } = await collect(agent.answer(turnOf({})));
    assert.equal(text, "I cannot see it");
    assert.ok(!said().includes(image.data));
    assert.match(said(), /this cannot be shown, because you read no images/);
    assert.match(JSON.stringify(result.messages), /you read no images/);
    await agent.close();
  });
});
