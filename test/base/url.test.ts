import assert from "node:assert/strict";
import { it } from "node:test";
import { authorityOf } from "../../src/base/url.ts";

it("puts the address of IPv6 into brackets before its port", () => {
  assert.equal(authorityOf("broker.lan", 1883), "broker.lan:1883");
  assert.equal(authorityOf("192.168.1.5", 8883), "192.168.1.5:8883");
  const url = `http://${authorityOf("fd00::7", 8080)}/`;
  assert.equal(url, "http://[fd00::7]:8080/");
  assert.equal(new URL(url).port, "8080");
});
