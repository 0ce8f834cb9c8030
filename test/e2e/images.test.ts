import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { dataUrlOf, JPEG, jpegOf, PNG, WEBP } from "../support/images.ts";
import { answers, hangs, refuses, startModelServer } from "../support/model-server.ts";
import type { ModelServer } from "../support/model-server.ts";
import { needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import type { Mosquitto } from "../support/mosquitto.ts";
import {
  modelConfig,
  picoclaw,
  quickConfig,
  startClient,
  startGateway,
  temporaryHome,
  writeConfig,
} from "../support/picoclaw.ts";
import { temporaryFolder } from "../support/temporary.ts";
import { until } from "../support/until.ts";

const TOPIC = "/picoclaw/assistant/gate";

/** A subscriber to the answers that the broker knows already. */
async function startSubscriber(broker: Pick<Mosquitto, "port" | "log">) {
  const topic = `${TOPIC}/response`;
  const count = (): number => broker.log().split(`${topic} (QoS 0)`).length;
  const before = count();
  const subscriber = startClient("mosquitto_sub", ["-p", String(broker.port), "-t", topic]);
  await until("the subscriber is there", () => count() > before);
  return subscriber;
}

/** Publishes a request as a camera does; resolves with its answer. */
async function asked(
  broker: Pick<Mosquitto, "port" | "log">,
  args: readonly string[],
): Promise<string> {
  await using subscriber = await startSubscriber(broker);
  const port = String(broker.port);
  await using sent = startClient("mosquitto_pub", ["-p", port, "-t", `${TOPIC}/request`, ...args]);
  const { code, stderr } = await sent.ended;
  assert.equal(code, 0, stderr);
  await subscriber.said(/"done":true/);
  return subscriber.stdout();
}

const shown = (model: ModelServer): string => JSON.stringify(model.requests.at(-1)?.body.messages);

describe("a camera's image", needsMosquitto, () => {
  it("is asked about as a payload of its own, and in JSON over 3.1.1", async () => {
    await using model = await startModelServer();
    await using broker = await startMosquitto();
    await using home = await temporaryHome(modelConfig(broker.url, model.base));
    await using _gateway = await startGateway({ home: home.path });
    model.otherwise(answers("a gate"));
    for (const [type, bytes] of [
      ["image/jpeg", JPEG],
      ["image/png", PNG],
      ["image/webp", WEBP],
    ] as const) {
      const file = join(home.path, "photo");
      await writeFile(file, bytes);
      const raw = ["-V", "5", "-q", "1", "-f", file, "-D", "publish", "content-type", type];
      assert.match(await asked(broker, raw), /"text":"a gate"/);
      assert.ok(shown(model).includes(dataUrlOf(bytes, type)));
      assert.ok(shown(model).includes("Describe this image."));
      const json = JSON.stringify({ text: "open?", images: [dataUrlOf(bytes, "image/gif")] });
      assert.match(await asked(broker, ["-V", "311", "-m", json]), /"text":"a gate"/);
      assert.ok(shown(model).includes(dataUrlOf(bytes, type)), "its bytes tell its type");
      // Earlier ones have become notes.
      assert.equal(shown(model).split("image_url").length - 1, 2);
    }
    assert.match(shown(model), /\[an image of 1 x 1, image\/jpeg, \d+ bytes was here\]/);
  });

  it("is refused in words if it is too large, no image, or no model reads it", async () => {
    await using model = await startModelServer();
    await using broker = await startMosquitto();
    await using home = await temporaryHome(modelConfig(broker.url, model.base));
    await using gateway = await startGateway({ home: home.path });
    const file = join(home.path, "photo.jpg");
    const raw = ["-V", "5", "-f", file, "-D", "publish", "content-type", "image/jpeg"];
    await writeFile(file, jpegOf(640, 480, 262_145));
    assert.match(await asked(broker, raw), /larger than 262144 bytes.*"code":"too_large"/);
    await writeFile(file, "GIF89a, in truth");
    assert.match(await asked(broker, raw), /it is no JPEG, PNG or WebP image.*"bad_request"/);
    assert.equal(model.requests.length, 0);
    const message = "No endpoints found that support image input";
    model.script(refuses(404, { error: { message, code: 404 } }));
    await writeFile(file, jpegOf(640, 480, 200_000));
    assert.match(await asked(broker, raw), /this model reads no images.*"code":"model"/);
    assert.equal(model.requests.length, 1);
    assert.doesNotMatch(gateway.stderr() + gateway.stdout(), /\/9j\//, "no image is logged");
  });

  it("is answered after a restart between question and answer", async () => {
    await using model = await startModelServer();
    await using broker = await startMosquitto();
    await using home = await temporaryHome(modelConfig(broker.url, model.base));
    const port = String(broker.port);
    const file = join(home.path, "photo.jpg");
    const photo = jpegOf(640, 480, 200_000);
    await writeFile(file, photo);
    await using subscriber = await startSubscriber(broker);
    model.script(hangs());
    {
      await using gateway = await startGateway({ home: home.path });
      const raw = ["-V", "5", "-q", "1", "-f", file, "-D", "publish", "content-type", "image/jpeg"];
      const sent = startClient("mosquitto_pub", ["-p", port, "-t", `${TOPIC}/request`, ...raw]);
      assert.equal((await sent.ended).code, 0);
      await model.received(0);
      gateway.kill("SIGKILL");
      await gateway.ended;
    }
    model.otherwise(answers("a gate"));
    await using _again = await startGateway({ home: home.path });
    await subscriber.said(/a gate.*"done":true/);
    assert.ok(shown(model).includes(dataUrlOf(photo, "image/jpeg")));
    const { stdout } = await picoclaw(["sessions", "show", "gate"], { home: home.path });
    assert.match(stdout, /\[an image of 640 x 480, image\/jpeg, 195 KB was here\]/);
  });

  it("is sent from files by send, agent and try", async () => {
    await using model = await startModelServer();
    await using broker = await startMosquitto();
    await using home = await temporaryHome(modelConfig(broker.url, model.base));
    await using _gateway = await startGateway({ home: home.path });
    model.otherwise(answers("two gates"));
    const [photo, second] = [join(home.path, "photo.jpg"), join(home.path, "b.png")];
    await Promise.all([writeFile(photo, JPEG), writeFile(second, PNG)]);
    const run = (...args: readonly string[]) => picoclaw(args, { home: home.path, cwd: home.path });
    const sent = await run("send", "gate", "--image", photo, "--image=b.png", "what", "is", "it");
    assert.equal(sent.stdout, "two gates\n", sent.stderr);
    assert.ok(shown(model).includes(dataUrlOf(JPEG, "image/jpeg")));
    assert.ok(shown(model).includes(dataUrlOf(PNG, "image/png")));
    const alone = await run("agent", "-m", "what is it", "--image", "b.png");
    assert.equal(alone.stdout, "two gates\n", alone.stderr);
    assert.ok(shown(model).includes(dataUrlOf(PNG, "image/png")));
    const tried = await run("try", "--image", "b.png", "what is it");
    assert.equal(tried.stdout, "two gates\n", tried.stderr);
    assert.match(tried.stderr, /"images":\["data:image\/png;base64,iVBOR\w+…"\]/);
    await writeFile(photo, "GIF89a");
    const wrong = await run("send", "gate", "--image", photo, "what");
    assert.equal(wrong.code, 2);
    assert.match(wrong.stderr, /photo.jpg is no JPEG, PNG or WebP image/);
    await writeFile(photo, jpegOf(1, 1, 200_000));
    const large = await run("send", "gate", "--image", photo, "what");
    assert.equal(large.code, 2);
    assert.match(large.stderr, /the images are too large/);
    const missing = await run("send", "gate", "--image", "none.jpg", "what");
    assert.match(missing.stderr, /the image cannot be read from .*none.jpg/);
  });
});

it("without a model a question about an image is an error", async () => {
  await using home = await temporaryFolder();
  await writeConfig(home.path, quickConfig("tcp://127.0.0.1:1"));
  await writeFile(join(home.path, "b.png"), PNG);
  const options = { home: home.path, cwd: home.path };
  const tried = await picoclaw(["try", "--image", "b.png", "CPU usage?"], options);
  assert.equal(tried.code, 1);
  assert.match(tried.stderr, /no model is configured that could look at an image/);
  const asking = await picoclaw(["agent", "-m", "CPU usage?", "--image", "b.png"], options);
  assert.equal(asking.code, 1);
  assert.match(asking.stderr, /no model is configured that could look at an image/);
});
