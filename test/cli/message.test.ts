import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough, Readable } from "node:stream";
import { after, before, describe, it } from "node:test";
import { Failure } from "../../src/base/failure.ts";
import { checkedClientId } from "../../src/cli/ask.ts";
import { messageSource, readMessage } from "../../src/cli/message.ts";

const limits = { maxBytes: 100, signal: new AbortController().signal };
const untouchable = {
  cwd: "/",
  get stdin(): never {
    throw new Error("standard input was touched");
  },
};

let folder = "";
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "picoclaw-message-"));
});
after(() => rm(folder, { recursive: true }));

function piped(stream: Readable, isTTY = false) {
  return { cwd: folder, stdin: { isTTY, stream } };
}

/** The message of `words`, or of a pipe that holds these chunks. */
async function messageOf(chunks: readonly (string | Uint8Array)[], words: readonly string[] = []) {
  const host = piped(Readable.from(chunks.map((chunk) => Buffer.from(chunk))));
  return readMessage(messageSource({ words, file: undefined }, host), host, limits);
}

function refusedAs(code: string, expected: RegExp) {
  return (error: unknown) =>
    error instanceof Failure &&
    error.code === code &&
    expected.test(`${error.message} ${error.why}`);
}

describe("the message", () => {
  it("is the words with a space between, and a pipe is then not touched", async () => {
    const words = ["how  warm", "is", "007"];
    const source = messageSource({ words, file: undefined }, untouchable);
    assert.equal(await readMessage(source, untouchable, limits), "how  warm is 007");
  });

  it("is what is piped in, without its last newline, whole across chunks", async () => {
    assert.equal(await messageOf(["one\n\ntw", "o\n"]), "one\n\ntwo");
    assert.equal(await messageOf(["one\r\n"], ["-"]), "one");
    assert.equal(
      await messageOf([[0xe2], [0x82], [0xac]].map((bytes) => Uint8Array.from(bytes))),
      "€",
    );
  });

  it("is a file's text", async () => {
    await writeFile(join(folder, "question.txt"), "how warm?\n");
    const source = messageSource({ words: [], file: "question.txt" }, piped(new PassThrough()));
    assert.equal(await readMessage(source, untouchable, limits), "how warm?");
  });

  it("is standard input where the file is -", () => {
    const host = piped(new PassThrough(), true);
    assert.deepEqual(messageSource({ words: [], file: "-" }, host), { from: "stdin" });
    assert.deepEqual(messageSource({ words: ["-"], file: undefined }, host), { from: "stdin" });
  });

  it("cannot be waited for on a terminal", () => {
    const host = piped(new PassThrough(), true);
    assert.throws(
      () => messageSource({ words: [], file: undefined }, host),
      refusedAs("usage", /no message/),
    );
  });

  it("cannot be two", () => {
    assert.throws(
      () => messageSource({ words: ["a"], file: "b" }, untouchable),
      refusedAs("usage", /given twice/),
    );
  });

  it("is not blank", async () => {
    const blank = refusedAs("usage", /blank/);
    await assert.rejects(messageOf([" \n\t\n"]), blank);
    await assert.rejects(messageOf([]), blank);
    assert.throws(() => messageSource({ words: [" ", ""], file: undefined }, untouchable), blank);
  });

  it("is UTF-8", async () => {
    await assert.rejects(messageOf([Uint8Array.of(0x61, 0xff)]), refusedAs("usage", /not UTF-8/));
    await assert.rejects(
      messageOf([Uint8Array.of(0x61, 0xe2, 0x82)]),
      refusedAs("usage", /not UTF-8/),
    );
  });

  it("may be as long as the limit, and not a byte longer", async () => {
    const longest = "ü".repeat(50);
    for (const end of ["", "\n", "\r\n"])
      assert.equal(await messageOf([`${longest}${end}`]), longest);
    assert.equal(await messageOf([], [longest]), longest);
    const refused = refusedAs("usage", /too long.*100 bytes/);
    await assert.rejects(messageOf([`${longest}x`]), refused);
    await assert.rejects(messageOf([], [`${longest}x`]), refused);
  });

  it("that never ends is not read beyond the limit", async () => {
    let pulled = 0;
    const endless = new Readable({
      read() {
        pulled += 1;
        this.push(Buffer.alloc(50, "x"));
      },
      highWaterMark: 1,
    });
    await assert.rejects(
      readMessage({ from: "stdin" }, piped(endless), limits),
      refusedAs("usage", /too long/),
    );
    assert.ok(endless.destroyed);
    assert.ok(pulled < 10, `${pulled} chunks were read`);
  });

  it("that is still awaited ends with the signal's reason", async () => {
    const stop = new AbortController();
    const stream = new PassThrough();
    const read = readMessage({ from: "stdin" }, piped(stream), { ...limits, signal: stop.signal });
    setImmediate(() => stop.abort(new Failure("interrupted", "interrupted")));
    await assert.rejects(read, refusedAs("interrupted", /interrupted/));
    assert.ok(stream.destroyed);
  });

  it("in a file that is not there is wrong usage, with the reason", async () => {
    const missing = { from: "file", path: join(folder, "missing") } as const;
    await assert.rejects(
      readMessage(missing, untouchable, limits),
      refusedAs("usage", /cannot be read.*ENOENT/),
    );
    const directory = { from: "file", path: folder } as const;
    await assert.rejects(
      readMessage(directory, untouchable, limits),
      refusedAs("usage", /cannot be read.*EISDIR|directory/),
    );
  });
});

describe("a client id", () => {
  const ids = ["kitchen", "007", "user@host:1_2.3-x", "...", "my lamp", "ü", "$1", "x".repeat(999)];
  for (const id of ids) {
    it(`can be ${id.slice(0, 20)}`, () => assert.equal(checkedClientId(id), id));
  }
  for (const id of [
    "",
    ".",
    "..",
    "a/b",
    "a+",
    "#",
    " ",
    "a\n",
    "a\u0000",
    "a\uFFFD",
    "a\uD800",
    "x".repeat(40_000),
  ]) {
    it(`cannot be ${JSON.stringify(id.slice(0, 20))}`, () => {
      assert.throws(() => checkedClientId(id), refusedAs("usage", /not a client id/));
    });
  }
});
