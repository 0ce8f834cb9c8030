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
    ["{{ value_json.x | tojson }}", '{"x":{"deep":1}}', '{"deep":1}'],
    ["{{ value_json.x }}", '{"x":null}', undefined],
    ["{{ value_json.toString }}", "{}", undefined],
    ["{{ value_json['__proto__'] }}", "{}", undefined],
    ["{{ value_json['constructor']['name'] }}", "{}", undefined],
    ["{{ value.a }}", "{}", undefined],
    ["{{ [{'a': {1: value}}] | tojson }}", "x", '[{"a":{"1":"x"}}]'],
    ["{{ value | truncate(9) }}", "hello big world", "hello..."],
    ["text {{ value }}, {{ value }}", "1", "text 1, 1"],
    ["{{ value | replace(',', '.') | float }}", "21,5", 21.5],
    ['{% if value_json["silence"] %}true{% else %}false{% endif %}', '{"silence":true}', "true"],
    ['{{ "OFF" if value_json.value == 0 else "ON" }}', '{"value":30}', "ON"],
    ["{{ (value_json.value / 99 * 100) | round(0) }}", '{"value":50}', 51],
    ["{{ {'off':0, 'low':1}[value_json['m']] | default('None') }}", '{"m":"low"}', 1],
    ["{{ {'off':0, 'low':1}[value_json['m']] | default('None') }}", '{"m":"high"}', "None"],
    ["{{ {0:'off', 16:'silent'}[value_json.value] }}", '{"value":16}', "silent"],
    ["{{ value_json.HSBColor.split(',')[0:2]|join(',') }}", '{"HSBColor":"32,99,50"}', "32,99"],
    ["{{value[1:3]|int(base=16)}},{{value[3:5]|int(base=16)}}", "#ff8800", "255,136"],
    ["{{'%02x%02x' | format(value|int, 255)}}", "10", "0aff"],
    [
      "{{ value_json.a | default('',True) | string | truncate(4, True, '', 0) }}",
      '{"a":12345}',
      "1234",
    ],
    ["{% set v = {None:None,'heat':'heating'} %}{{ v[value_json.r] }}", '{"r":"heat"}', "heating"],
    ["{{ 'x' in value_json and value_json.x is not none }}", '{"x":1}', true],
    ["{{ value_json.x is defined }}", "{}", false],
    ["{{ not value_json.x or value_json.y >= 2 and -value_json.y < 0 }}", '{"x":1,"y":2}', true],
    ["{{ value ~ (7 // 2) ~ (-7 % 3) }}{# remark #}", "", "32"],
    ["{% if value == 'a' %}1{% elif value == 'b' %}2{% else %}3{% endif %}", "b", "2"],
    ["{{ value_json.u.get('progress', 'null') }}", '{"u":{}}', "null"],
    ["{{ value | int }}", "no number", undefined],
    ["{{ value_json.a + 1 }}", '{"a":"1"}', undefined],
    ["{{ value_json.a / 0 }}", '{"a":1}', undefined],
    ["{{ value_json[0].a }}", '[{"a":5}]', 5],
  ] as const) {
    it(`${template} of ${payload}`, () => assert.equal(valueOf(template, payload), value));
  }

  for (const template of [
    "{{ ''.__class__ }}",
    "{{ value.__class__ }}",
    "{{ states('sensor.secret') }}",
    "{{ now() }}",
    "{{ value | regex_replace('a', 'b') }}",
    "{% for x in value_json %}{{ x }}{% endfor %}",
    "{% if value %}x",
    "{{ value",
    "{{ value }",
    "{{ value + }}",
    "constant",
    `{{ ${"(".repeat(50)}value${")".repeat(50)} }}`,
    `{{ value_json.${"a".repeat(3_000)} }}`,
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
      "{% if",
      "%}",
      "{% endif %}",
      "==",
      "~",
      "[0:2]",
      "'x'",
      ".replace('a',value)",
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
    const long = "a".repeat(8_000);
    const growing = `{{ value${".replace('a', value)".repeat(20)} }}`;
    const doubling = `{% set a = value %}${"{% set a = a ~ a %}".repeat(80)}{{ a }}`;
    for (const template of ["{{ value ~ value ~ value }}", growing, doubling])
      assert.equal(valueOf(template, long), undefined);
    const nested = `{% set a = value %}${"{% set a = [a,a,a,a,a,a,a,a,a,a] %}".repeat(9)}`;
    for (const use of ["{{ a }}", "{{ a | tojson }}", "{{ a | join(',') }}", "{{ {'b': a} }}"])
      assert.equal(valueOf(nested + use, "x"), undefined);
    assert.equal(valueOf("{{ value | list | join(value) }}", long), undefined);
    const blanks = `${" ".repeat(8_000)}a bc`;
    assert.ok(
      valueOf("{{ value | truncate(8002, false, '') }}", blanks) === blanks.slice(0, 8_001),
    );
    for (const use of ["|title", "|list|join", "|tojson|from_json"])
      assert.equal(valueOf(`{{ value${use.repeat(9)} }}`, "a"), "not read");
    const large = `{"b":[${"[],".repeat(2_600)}1],"c":7}`;
    for (let count = 0; count < 10_000; count += 1)
      assert.equal(valueOf("{{ value_json.c }}", large), 7);
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

  it("may make the payload of the value", () => {
    const form = parseCommandTemplate("{{ {0:'off', 1:'low'}[value] | default('') }}", ["value"]);
    assert.ok(form?.type === "template");
    assert.equal(form.template.evaluate(new Map([["value", 1]])), "low");
  });

  for (const template of ["{% for x in value %}x{% endfor %}", "{{ other }}", "constant"]) {
    it(`${template} is not understood`, () => {
      assert.equal(parseCommandTemplate(template, ["value"]), undefined);
    });
  }
});
