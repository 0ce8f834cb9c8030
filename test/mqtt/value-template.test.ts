import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { array, assert as holds, oneof, property, string, constantFrom } from "fast-check";
import {
  parseCommandTemplate,
  parseValueTemplate,
  readValue,
} from "../../src/mqtt/home-devices/value-template.ts";
import { runs } from "../support/runs.ts";

function valueOf(template: string, payload: string): unknown {
  const parsed = parseValueTemplate(template);
  return parsed === undefined ? "not read" : readValue(parsed, payload);
}

describe("a value template", () => {
  for (const [template, payload, value] of [
    ["{{ value }}", "21.5", "21.5"],
    ["{{value_json.POWER}}", '{"POWER":"ON"}', "ON"],
    ['{{ value_json["state"] }}', '{"state":"OFF"}', "OFF"],
    ["{{value_json['ENERGY']['Power']}}", '{"ENERGY":{"Power":42}}', 42],
    ["{{ value_json.a.b[1].c }}", '{"a":{"b":[0,{"c":true}]}}', true],
    ["{{- value_json.a -}}", '{"a":1}', 1],
    ["{{ value | float }}", "3.50", 3.5],
    ["{{ value_json.t | float | round(1) }}", '{"t":21.467}', 21.5],
    ["{{ value | int(0) }}", "7.9", 7],
    ["{{ value_json.x | is_defined }}", '{"y":1}', undefined],
    ["{{ value_json.x | default('none') }}", "{}", "none"],
    ["{{ value | lower }}", "ON", "on"],
    ["{{ value_json.x }}", "no json", undefined],
    ["{{ value_json.x }}", '{"x":{"deep":1}}', undefined],
    ["{{ value_json.x }}", '{"x":null}', undefined],
    ["{{ value_json.toString }}", "{}", undefined],
    ["{{ value_json.__proto__ }}", "{}", undefined],
    ["{{ value_json['constructor']['name'] }}", "{}", undefined],
  ] as const) {
    it(`${template} of ${payload}`, () => assert.equal(valueOf(template, payload), value));
  }

  for (const template of [
    "{% if value_json.a %}x{% endif %}",
    "{{ value_json.a + 1 }}",
    "{{ value_json.a.split(',')[0:2] | join(',') }}",
    "{{ ''.__class__ }}",
    "{{ states('sensor.secret') }}",
    "{{ value | replace('a', 'b') }}",
    "{{ value }}{{ value }}",
    "text {{ value }}",
    "{{ value.a }}",
    `{{ value_json${".a".repeat(9)} }}`,
    `{{ value_json.${"a".repeat(400)} }}`,
    "",
  ]) {
    it(`${template.slice(0, 40)} is not read`, () => {
      assert.equal(valueOf(template, "{}"), "not read");
    });
  }

  it("is read without an error and in little time, whatever it is", () => {
    const pieces = constantFrom(
      "{{",
      "}}",
      "value",
      "_json",
      ".a",
      "['b']",
      "|",
      "float",
      "(",
      ")",
      " ",
      "-",
    );
    const texts = oneof(
      array(pieces, { maxLength: 60 }).map((some) => some.join("")),
      string(),
    );
    holds(
      property(texts, string(), (template, payload) => {
        valueOf(template, payload);
        parseCommandTemplate(template, ["value"]);
      }),
      { numRuns: runs(500) },
    );
  });
});

describe("value templates of a liar", () => {
  it("are read in no more than a moment, whatever is blank in them", () => {
    const blank = " ".repeat(280);
    const begun = performance.now();
    for (let count = 0; count < 4_000; count += 1) {
      for (const template of [`{{value|int(${blank}}}`, `{{value|int${blank}x}}`]) {
        assert.equal(parseValueTemplate(template), undefined);
      }
    }
    const passed = performance.now() - begun;
    assert.ok(passed < 4_000, `${passed} ms`);
    assert.deepEqual(valueOf("{{ value |  round ( 1 )  }}", "1.25"), 1.3);
  });
});

describe("a command template", () => {
  it("is text around one value", () => {
    const position = parseCommandTemplate('{ "position": {{ position }} }', ["value", "position"]);
    assert.deepEqual(position, { type: "text", before: '{ "position": ', after: " }" });
    const plain = parseCommandTemplate("{{ value | int }}", ["value"]);
    assert.deepEqual(plain, { type: "text", before: "", after: "" });
  });

  for (const template of [
    "{{ {0:'off', 1:'low'}[value] | default('') }}",
    "{% if value > 1 %}x{% endif %}",
    "{{ value }} {{ value }}",
    "{{ other }}",
    "constant",
  ]) {
    it(`${template} is not understood`, () => {
      assert.equal(parseCommandTemplate(template, ["value"]), undefined);
    });
  }
});
