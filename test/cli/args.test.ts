import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { suggestWord } from "../../src/base/spelling.ts";
import { COMMANDS } from "../../src/cli/args/commands.ts";
import { type CommandLine, parseCommandLine } from "../../src/cli/args/parse.ts";
import { formatDuration, parseDuration } from "../../src/cli/duration.ts";
import { codePoint } from "../support/code-point.ts";

const parse = (...args: readonly string[]): CommandLine => parseCommandLine(args);

function understood(...args: readonly string[]): CommandLine {
  const line = parse(...args);
  assert.equal(line.failure?.message, undefined);
  return line;
}

function refused(...args: readonly string[]): string {
  const { failure } = parse(...args);
  assert.equal(failure?.code, "usage", `${args.join(" ")} was accepted`);
  return [failure.message, failure.why, failure.remedy].filter(Boolean).join(" | ");
}

it("a port is a whole number from 0 to 65535", () => {
  assert.equal(understood("gateway", "--port", "0").flags.count("port"), 0);
  assert.equal(understood("gateway", "--port", "65535").flags.count("port"), 65_535);
  for (const port of ["65536", "-1", "http"]) {
    assert.match(refused("gateway", `--port=${port}`), /use a whole number from 0 to 65535/);
  }
  assert.match(refused("listen", "--count", "0"), /use a whole number of at least 1/);
});

describe("words arrive as they were typed", () => {
  const exact = ["007", "0x10", "1e3", "", " ", "true", "false", "-", "-5", "-5.5", "- item", "@3"];
  for (const word of exact) {
    it(`${JSON.stringify(word)} as a message`, () => {
      assert.deepEqual(understood("send", "kitchen", word).words, ["kitchen", word]);
    });
    if (word !== "") {
      it(`${JSON.stringify(word)} as a flag's value`, () => {
        assert.equal(understood("send", "c", "m", `--id=${word}`).flags.text("id"), word);
        assert.equal(understood("send", "c", "m", "--id", word).flags.text("id"), word);
      });
    }
  }

  it("whatever comes after --", () => {
    fc.assert(
      fc.property(fc.array(fc.string({ unit: codePoint })), (words) => {
        assert.deepEqual(understood("send", "c", "--", ...words).words, ["c", ...words]);
      }),
    );
  });

  it("whatever does not look like a flag, between flags", () => {
    const word = fc
      .oneof(fc.string(), fc.double().map(String), fc.constantFrom("send", "g", "help", "v"))
      .filter((text) => !/^-(?:-|[A-Za-z])/.test(text));
    fc.assert(
      fc.property(fc.array(word), word, (words, id) => {
        fc.pre(id !== "");
        const line = understood("--debug", "send", "--id", id, "c", "--json", ...words, "-t5");
        assert.deepEqual(line.words, ["c", ...words]);
        assert.equal(line.flags.text("id"), id);
        assert.equal(line.flags.duration("timeout"), 5000);
      }),
    );
  });

  it("a value that looks like a flag is written with =", () => {
    assert.equal(understood("agent", "--message=--help").flags.text("message"), "--help");
    assert.equal(understood("agent", "-m=-x").flags.text("message"), "-x");
    assert.equal(understood("agent", "--message=a=b=").flags.text("message"), "a=b=");
    assert.match(refused("agent", "-m", "-x"), /unknown flag -x/);
  });

  it("no argument can reach the prototype of anything", () => {
    assert.match(refused("send", "c", "--__proto__", "x"), /unknown flag --__proto__/);
    assert.match(refused("send", "c", "--constructor.x=1"), /unknown flag --constructor.x/);
    assert.match(refused("__proto__"), /unknown command "__proto__"/);
    assert.match(refused("toString"), /unknown command "toString"/);
  });
});

describe("flags", () => {
  it("the last of several values counts, whichever way it was written", () => {
    const { flags } = understood("send", "c", "m", "-t", "1s", "--timeout=2s", "--timeout", "3s");
    assert.equal(flags.duration("timeout"), 3000);
    assert.equal(understood("send", "c", "--timeout=3s", "-t2s").flags.duration("timeout"), 2000);
    assert.equal(understood("send", "c", "-t2s").flags.duration("timeout", 600_000), 2000);
    assert.equal(understood("send", "c").flags.duration("timeout", 600_000), 600_000);
  });

  it("that may be given several times have all their values, in their order", () => {
    const { flags } = understood("send", "c", "--image", "007", "m", "--image=a=b", "--image", "c");
    assert.deepEqual(flags.texts("image"), ["007", "a=b", "c"]);
    assert.deepEqual(understood("send", "c", "m").flags.texts("image"), []);
    assert.match(refused("send", "c", "m", "--image=", "--image", "b"), /--image needs a value/);
    assert.match(refused("send", "c", "m", "--image", "b", "--image"), /--image needs a value/);
  });

  it("a flag without a value may be repeated and does not take the word after it", () => {
    const line = understood("send", "--json", "c", "--json", "5", "--no-wait", "--no-wait", "x");
    assert.deepEqual(line.words, ["c", "5", "x"]);
    assert.ok(line.flags.has("json") && line.flags.has("no-wait"));
    assert.ok(!line.flags.has("no-stream") && !line.flags.has("raw"));
    assert.deepEqual(understood("config", "--dry-run", "encrypt").words, ["encrypt"]);
    assert.match(refused("gateway", "--log-content", "x"), /gateway does not take "x"/);
  });

  it("letters can be joined, and the last one can have its value attached", () => {
    const { flags } = understood("listen", "-dn5");
    assert.ok(flags.has("debug"));
    assert.equal(flags.count("count"), 5);
    assert.equal(understood("listen", "-dn", "7").flags.count("count"), 7);
  });

  it("may stand before the command", () => {
    const line = understood("--broker", "tcp://x:1", "-d", "g", "--check");
    assert.equal(line.command?.name, "gateway");
    assert.equal(line.flags.text("broker"), "tcp://x:1");
    assert.deepEqual(line.words, []);
  });

  it("have their defaults", () => {
    const { flags } = understood("gateway");
    assert.equal(flags.duration("drain"), 20_000);
    assert.equal(flags.duration("connect-timeout"), 10_000);
    assert.equal(flags.text("broker"), undefined);
    assert.equal(flags.choice("mqtt"), undefined);
    assert.equal(flags.limit("for"), undefined);
    assert.equal(flags.count("count"), undefined);
  });

  it("of the Go program are accepted by the gateway", () => {
    const { flags } = understood("g", "-d", "-E", "-T", "--host", "0.0.0.0");
    assert.ok(flags.has("allow-empty") && flags.has("no-truncate") && flags.has("debug"));
    assert.equal(flags.text("host"), "0.0.0.0");
  });
});

describe("wrong usage names what is wrong and the nearest known word", () => {
  const cases: readonly (readonly [args: string, expected: RegExp])[] = [
    ["sned x", /unknown command "sned".*picoclaw send/],
    ["gatway", /unknown command "gatway".*picoclaw gateway/],
    ["x", /unknown command "x"/],
    ["qqqqqq", /unknown command "qqqqqq" \| picoclaw help$/],
    ["-- send x", /unknown command "send"/],
    ["send", /send needs <client>/],
    ["send c --timout 5", /unknown flag --timout.*--timeout/],
    ["send c --jsno", /unknown flag --jsno.*--json/],
    ["send c --for 5", /unknown flag --for/],
    ["send c --no-json", /unknown flag --no-json/],
    ["send c --wait", /unknown flag --wait/],
    ["send c -x", /unknown flag -x/],
    ["send c -dx", /unknown flag -dx/],
    ["send c --=5", /unknown flag --/],
    ["send c ---", /unknown flag ---/],
    ["send c --allow-emty", /unknown flag --allow-emty \| [^|]*$/],
    ["send c --json=yes", /--json takes no value/],
    ["send c -t", /--timeout needs a value/],
    ["send c -t --json", /--timeout needs a value/],
    ["send c --id=", /--id needs a value/],
    ["send c --id -- x", /--id needs a value/],
    ["send c -t soon", /--timeout soon: use a time such as/],
    ["send c -t 0", /--timeout 0: use a time above zero/],
    ["send c -t -5", /--timeout -5: use a time such as/],
    ["send c -t 1000h", /--timeout 1000h/],
    ["listen -n 0", /--count 0: use a whole number/],
    ["listen -n 1.5", /--count 1.5: use a whole number/],
    ["listen -n -1", /--count -1: use a whole number/],
    ["listen --only request", /use requests or responses.*did you mean requests/],
    ["send c --mqtt 3", /use auto, 5 or 4/],
    ["gateway now", /gateway does not take "now".*picoclaw help gateway/],
    ["completion", /completion needs <shell>/],
    ["completion bsh", /use bash, zsh or fish.*did you mean bash/],
    ["--json=1 send c", /--json takes no value/],
    ["--broker tcp://x", /--broker needs a command/],
  ];
  for (const [args, expected] of cases) {
    it(args, () => assert.match(refused(...args.split(" ")), expected));
  }

  it("zero is a time for --drain", () => {
    assert.equal(understood("gateway", "--drain", "0").flags.duration("drain"), 0);
  });

  it("never throws, whatever the words", () => {
    const word = fc.oneof(
      fc.string(),
      fc.string().map((text) => `--${text}`),
      fc.string().map((text) => `-${text}`),
      fc.constantFrom("--", "-", "send", "listen", "-t", "--json", "--id", "-n5", "--no-"),
    );
    fc.assert(
      fc.property(fc.array(word), (words) => {
        const { failure, command } = parseCommandLine(words);
        assert.ok(failure === undefined || failure.code === "usage");
        if (command !== undefined) assert.ok(COMMANDS.includes(command));
      }),
    );
  });
});

describe("durations", () => {
  const written: readonly (readonly [string, number | undefined])[] = [
    ["30s", 30_000],
    ["2m", 120_000],
    ["500ms", 500],
    ["1h", 3_600_000],
    ["1m30s", 90_000],
    ["1.5s", 1500],
    ["5", 5000],
    ["0", 0],
    ["0.25", 250],
    ["007", 7000],
    ["", undefined],
    ["s", undefined],
    ["-5s", undefined],
    ["5 s", undefined],
    ["5d", undefined],
    ["1e3", undefined],
    ["0x10", undefined],
    ["596h", 2_145_600_000],
    ["597h", undefined],
  ];
  for (const [text, milliseconds] of written) {
    it(`${JSON.stringify(text)} is ${milliseconds ?? "none"}`, () => {
      assert.equal(parseDuration(text), milliseconds);
    });
  }

  it("as shown are read back as the same time, to a tenth of a second", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 31 - 100 }), (milliseconds) => {
        const back = parseDuration(formatDuration(milliseconds)) ?? Number.NaN;
        assert.ok(Math.abs(back - milliseconds) <= 50, formatDuration(milliseconds));
      }),
    );
  });
});

describe("the nearest known word", () => {
  const known = ["gateway", "send", "listen", "help"];
  it("is the one with the fewest edits, a swap being one", () => {
    assert.equal(suggestWord("sned", known), "send");
    assert.equal(suggestWord("LISTEN", known), "listen");
    assert.equal(suggestWord("gatewy", known), "gateway");
  });
  it("can be an unfinished word", () => assert.equal(suggestWord("gate", known), "gateway"));
  it("is not guessed where nothing is near", () => {
    assert.equal(suggestWord("frobnicate", known), undefined);
    assert.equal(suggestWord("", known), undefined);
    assert.equal(suggestWord("x".repeat(1_000_000), known), undefined);
  });
});
