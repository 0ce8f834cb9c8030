import assert from "node:assert/strict";
import { arch } from "node:os";
import { describe, it } from "node:test";
import { syscallFilter } from "../../../../src/agent/tools/exec/sandbox/syscall-filter.ts";
import { createCommands } from "../../../support/commands.ts";
import { withBubblewrap } from "../../../support/sandbox.ts";

interface Call {
  readonly processor: number;
  readonly number: number;
  readonly first?: number;
}

const ALLOWED = "allowed";

/** What the kernel makes of a call: it interprets the filter as `seccomp_run_filters` does. */
function resultOf(filter: Uint8Array, { processor, number, first = 0 }: Call): string | number {
  const view = new DataView(filter.buffer);
  const data = new Map([
    [0, number],
    [4, processor],
    [16, first],
  ]);
  let loaded = 0;
  for (let at = 0; at < filter.length; at += 8) {
    const [code, operand] = [view.getUint16(at, true), view.getUint32(at + 4, true)];
    const jump = (isTrue: boolean) => view.getUint8(at + (isTrue ? 2 : 3)) * 8;
    if (code === 0x20) loaded = data.get(operand) ?? assert.fail(`nothing is at ${operand}`);
    else if (code === 0x15) at += jump(loaded === operand);
    else if (code === 0x35) at += jump(loaded >= operand);
    else if (code !== 0x06) assert.fail(`unknown instruction ${code}`);
    else return operand === 0x7fff_0000 ? ALLOWED : operand - 0x0005_0000;
  }
  return assert.fail("the filter has no end");
}

const [EPERM, ENOSYS, EAFNOSUPPORT] = [1, 38, 97];
const [UNIX, IPV4, NETLINK, VSOCK] = [1, 2, 16, 40];

/** Numbers of the kernel's tables of system calls. */
const PROCESSORS = {
  x64: { processor: 0xc000003e, socket: 41, read: 0, keyctl: 250, add_key: 248, bpf: 321 },
  arm64: { processor: 0xc00000b7, socket: 198, read: 63, keyctl: 219, add_key: 217, bpf: 280 },
} as const;

describe("the filter of system calls", () => {
  for (const [name, { processor, ...numbers }] of Object.entries(PROCESSORS)) {
    it(`lets commands on ${name} work, without the kernel's keys and its other networks`, () => {
      for (const network of [false, true]) {
        const filter = syscallFilter(network, name);
        assert.ok(filter);
        const made = (number: number, first?: number) =>
          resultOf(filter, { processor, number, ...(first !== undefined && { first }) });
        assert.equal(made(numbers.read), ALLOWED);
        for (const family of [UNIX, IPV4, NETLINK]) {
          assert.equal(made(numbers.socket, family), ALLOWED);
        }
        assert.equal(made(numbers.socket, VSOCK), network ? ALLOWED : EAFNOSUPPORT);
        for (const number of [numbers.keyctl, numbers.add_key, numbers.bpf]) {
          assert.equal(made(number), EPERM);
        }
        // io_uring_setup.
        assert.equal(made(425), ENOSYS);
      }
    });

    it(`leaves no way around it on ${name} by the calls of another processor`, () => {
      const filter = syscallFilter(false, name);
      assert.ok(filter);
      for (const call of [
        { processor: 0x4000_0003, number: 102 },
        { processor: 0x4000_0028, number: numbers.socket },
        { processor, number: 0x4000_0000 + numbers.socket, first: VSOCK },
      ]) {
        assert.equal(resultOf(filter, call), ENOSYS);
      }
    });
  }

  it("is none on other processors", () => assert.equal(syscallFilter(false, "mips"), undefined));
});

describe("a command in a sandbox", await withBubblewrap(), () => {
  const skip = arch() in PROCESSORS ? false : "there is no filter for this processor";

  it(
    "has the filter, and no vsock, which reaches the host of a virtual machine",
    { skip },
    async () => {
      for (const allow_network of [false, true]) {
        await using commands = await createCommands({ sandbox: "bwrap", allow_network });
        const status = await commands.call({ command: "grep ^Seccomp: /proc/self/status" });
        assert.match(status, /^Seccomp:\s*2\n/);
        const socket = `perl -e 'socket(S, ${VSOCK}, 1, 0) or print "$!\\n"' || echo none`;
        const made = await commands.call({ command: `command -v perl > /dev/null && ${socket}` });
        assert.match(
          made,
          allow_network ? /exit code [01]\b/ : /family not supported|exit code 1\b/,
        );
      }
    },
  );
});
