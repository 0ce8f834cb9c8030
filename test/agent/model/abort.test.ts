import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { Failure } from "../../../src/base/failure.ts";
import { collect, questionOf } from "../../support/agent-config.ts";
import {
  hangs,
  refuses,
  startModelServer,
  streamsSlowly,
  textEvent,
} from "../../support/model-server.ts";
import type { ModelServer } from "../../support/model-server.ts";
import { openModel } from "../../support/model.ts";

let server: ModelServer;
beforeEach(async () => {
  server = await startModelServer();
});
afterEach(() => server.close());

function createModel() {
  return openModel({ entry: { api_base: server.base } });
}

describe("an abort", () => {
  const reason = new Failure("cancelled", "stopped");

  it("before the question asks nothing", async () => {
    const model = createModel();
    await assert.rejects(collect(model(questionOf(AbortSignal.abort(reason)))), reason);
    assert.equal(server.requests.length, 0);
  });

  for (const [moment, behaviour] of [
    ["before the headers", hangs()],
    ["after the headers", hangs("")],
    ["in the middle of the answer", hangs(textEvent("ha"))],
    ["while the answer comes slowly", streamsSlowly(1000, 60_000)],
  ] as const) {
    it(`${moment} ends the turn at once, with its reason, and the request too`, async () => {
      server.script(behaviour);
      const controller = new AbortController();
      const answer = collect(createModel()(questionOf(controller.signal)));
      const request = await server.received(0);
      setTimeout(() => controller.abort(reason), 50);
      await assert.rejects(answer, (thrown) => thrown === reason);
      await ended(request.gone);
    });
  }

  it("ends the wait between two tries", async () => {
    server.otherwise(refuses(429, {}, { "retry-after": "50" }));
    const controller = new AbortController();
    const answer = collect(createModel()(questionOf(controller.signal)));
    await server.received(0);
    setTimeout(() => controller.abort(reason), 50);
    await assert.rejects(answer, (thrown) => thrown === reason);
  });

  it("a reader who leaves in the middle ends the request", async () => {
    server.script(hangs(textEvent("ha")));
    for await (const piece of createModel()(questionOf())) {
      assert.equal(piece, "ha");
      break;
    }
    await ended((await server.received(0)).gone);
  });
});

function ended(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
