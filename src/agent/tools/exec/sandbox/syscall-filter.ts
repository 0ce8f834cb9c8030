import type { FileHandle } from "node:fs/promises";
import { mkdtemp, open, rm, writeFile } from "node:fs/promises";
import { arch, tmpdir } from "node:os";
import { join } from "node:path";

/** The numbers of system calls on a processor, and its number in AUDIT_ARCH (linux/audit.h). */
interface Numbers {
  readonly audit: number;
  readonly socket: number;
  /** Kernel keyrings, which no namespace separates: add_key, request_key, keyctl. */
  readonly keys: readonly number[];
  /** bpf, userfaultfd and perf_event_open: parts of the kernel that a command does not need. */
  readonly others: readonly number[];
}

const NUMBERS: Readonly<Record<string, Numbers>> = {
  x64: { audit: 0xc000_003e, socket: 41, keys: [248, 249, 250], others: [321, 323, 298] },
  arm64: { audit: 0xc000_00b7, socket: 198, keys: [217, 218, 219], others: [280, 282, 241] },
};

/** Opens sockets without `socket`; the same numbers on every processor: setup, enter, register. */
const IO_URING = [425, 426, 427];
/** Numbers from here on belong to another interface of the same processor (x32). */
const X32 = 0x4000_0000;
/** Unix, IPv4, IPv6, netlink. Network namespaces do not separate some of the others, such as vsock. */
const FAMILIES = [1, 2, 10, 16];

const [EPERM, ENOSYS, EAFNOSUPPORT] = [1, 38, 97];
const [LOAD, IF_EQUAL, IF_AT_LEAST, RETURN] = [0x20, 0x15, 0x35, 0x06];
const [ALLOW, ERROR] = [0x7fff_0000, 0x0005_0000];
/** Positions in struct seccomp_data. */
const [NUMBER, PROCESSOR, FIRST_ARGUMENT] = [0, 4, 16];

/** Instruction, jumps if true and if false, operand (struct sock_filter). */
type Instruction = readonly [code: number, yes: number, no: number, operand: number];

/** A filter of system calls (seccomp(2), classic BPF); undefined on other processors. */
export function syscallFilter(
  network: boolean,
  processor: string = arch(),
): Uint8Array | undefined {
  const numbers = NUMBERS[processor];
  if (numbers === undefined) return undefined;
  const { audit, socket, keys, others } = numbers;
  const fail = (error: number): Instruction => [RETURN, 0, 0, ERROR + error];
  const refuse = (number: number, error: number): Instruction[] => [
    [IF_EQUAL, 0, 1, number],
    fail(error),
  ];
  const families: Instruction[] = [
    [IF_EQUAL, 0, FAMILIES.length + 2, socket],
    [LOAD, 0, 0, FIRST_ARGUMENT],
    ...FAMILIES.map((family, index): Instruction => [IF_EQUAL, FAMILIES.length - index, 0, family]),
    fail(EAFNOSUPPORT),
  ];
  return encoded([
    [LOAD, 0, 0, PROCESSOR],
    [IF_EQUAL, 1, 0, audit],
    fail(ENOSYS),
    [LOAD, 0, 0, NUMBER],
    [IF_AT_LEAST, 0, 1, X32],
    fail(ENOSYS),
    ...[...keys, ...others].flatMap((number) => refuse(number, EPERM)),
    ...IO_URING.flatMap((number) => refuse(number, ENOSYS)),
    ...(network ? [] : families),
    [RETURN, 0, 0, ALLOW],
  ]);
}

function encoded(program: readonly Instruction[]): Uint8Array {
  const view = new DataView(new ArrayBuffer(program.length * 8));
  for (const [index, [code, yes, no, operand]] of program.entries()) {
    view.setUint16(index * 8, code, true);
    view.setUint8(index * 8 + 2, yes);
    view.setUint8(index * 8 + 3, no);
    view.setUint32(index * 8 + 4, operand, true);
  }
  return new Uint8Array(view.buffer);
}

/** The descriptor of a filter in bubblewrap. */
export const FILTER_FD = 9;

/** Arguments before bubblewrap that open a filter as that descriptor: without network, and with it. */
export interface SyscallFilters {
  readonly offline: readonly string[];
  readonly online: readonly string[];
}

/** Undefined where there are no filters. Their files stay open: children reach them through /proc. */
export async function openFilters(): Promise<SyscallFilters | undefined> {
  try {
    const [offline, online] = [await filterArgs(false), await filterArgs(true)];
    return offline && online && { offline, online };
  } catch {
    // No folder is writable.
    return undefined;
  }
}

async function filterArgs(network: boolean): Promise<readonly string[] | undefined> {
  const filter = syscallFilter(network);
  if (filter === undefined) return undefined;
  const { fd } = await unnamedFile(filter);
  const script = `exec ${FILTER_FD}< "/proc/$PPID/fd/${fd}" && exec "$@"`;
  return ["/bin/sh", "-c", script, "sh"];
}

const openFiles: FileHandle[] = [];

async function unnamedFile(content: Uint8Array): Promise<FileHandle> {
  const folder = await mkdtemp(join(tmpdir(), "picoclaw-"));
  try {
    const path = join(folder, "filter");
    await writeFile(path, content);
    const file = await open(path);
    openFiles.push(file);
    return file;
  } finally {
    await rm(folder, { recursive: true });
  }
}
