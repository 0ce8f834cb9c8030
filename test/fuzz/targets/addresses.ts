import assert from "node:assert/strict";
import { BlockList, isIP } from "node:net";
import { createAllowance, plainHost } from "../../../src/agent/tools/web/addresses.ts";
import { textOf } from "../target.ts";
import type { Target } from "../target.ts";

/** The same question, asked of the runtime's own list of networks. */
const INNER = new BlockList();
for (const [net, bits] of [
  ["0.0.0.0", 8],
  ["10.0.0.0", 8],
  ["100.64.0.0", 10],
  ["127.0.0.0", 8],
  ["169.254.0.0", 16],
  ["172.16.0.0", 12],
  ["192.168.0.0", 16],
  ["224.0.0.0", 4],
  ["240.0.0.0", 4],
] as const) {
  INNER.addSubnet(net, bits, "ipv4");
}
for (const [net, bits] of [
  ["::", 96],
  ["fc00::", 7],
  ["fe80::", 10],
  ["ff00::", 8],
] as const) {
  INNER.addSubnet(net, bits, "ipv6");
}

const isAllowed = createAllowance([]);

/** One address, or what a URL makes of it. */
function run(input: Uint8Array): string {
  const text = textOf(input).trim();
  const url = URL.parse(`http://${text}/`);
  const hosts = url === null ? [text] : [text, plainHost(url.hostname)];
  const outcomes = hosts.map((host) => {
    const allowed = isAllowed(host, "a.test");
    const plain = host.replace(/%.*$/, "");
    const family = isIP(plain);
    if (family === 0) {
      assert.equal(allowed, false, "what is no address is connected to");
      return "none";
    }
    const dressed = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(plain)?.[1];
    const isInner =
      dressed === undefined
        ? INNER.check(plain, family === 4 ? "ipv4" : "ipv6")
        : INNER.check(dressed, "ipv4");
    if (allowed) assert.equal(isInner, false, `${host} is a private address`);
    return `${family} ${allowed} ${plain === host}`;
  });
  return outcomes.join("|");
}

export const ADDRESSES: Target = {
  name: "addresses",
  about: "no spelling of a private address is taken for one of the public internet",
  material: {
    most: 200,
    words:
      ": :: . % [ ] 0 127 127.0.0.1 ::ffff: ::1 fe80 64:ff9b:: 2002: 0x7f 0177 2130706433 169.254 10.0.0.1 8.8.8.8 2606:4700::1111 %25eth0 ffff 。".split(
        " ",
      ),
  },
  async open() {
    return { run };
  },
};
