import {
  chmodSync,
  cpSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { gzipSync } from "node:zlib";
import { run } from "./targets.ts";

export interface DebianOptions {
  readonly root: string;
  /** The folder that the package is put into. */
  readonly out: string;
  /** The compiled program; its manual page is in the same folder. */
  readonly program: string;
  readonly version: string;
  /** As Debian names it. */
  readonly architecture: "amd64" | "arm64" | (string & {});
}

/** Makes picoclaw_VERSION_ARCHITECTURE.deb with dpkg-deb, which must be there. */
export function makeDebianPackage(options: DebianOptions): void {
  const { root, out, program, version, architecture } = options;
  const tree = join(out, `debian-${architecture}`);
  const documents = join(tree, "usr/share/doc/picoclaw");
  const manual = join(tree, "usr/share/man/man1");
  for (const folder of [join(tree, "DEBIAN"), join(tree, "usr/bin"), documents, manual]) {
    mkdirSync(folder, { recursive: true });
  }
  const place = join(tree, "usr/bin/picoclaw");
  cpSync(program, place);
  chmodSync(place, 0o755);
  cpSync(join(root, "LICENSE"), join(documents, "copyright"));
  const changes = gzipSync(readFileSync(join(root, "CHANGELOG.md")), { level: 9 });
  writeFileSync(join(documents, "changelog.gz"), changes);
  const page = gzipSync(readFileSync(join(dirname(program), "picoclaw.1")), { level: 9 });
  writeFileSync(join(manual, "picoclaw.1.gz"), page);
  const kibibytes = Math.ceil(statSync(place).size / 1024);
  writeFileSync(join(tree, "DEBIAN/control"), control(options, kibibytes));
  const file = join(out, `picoclaw_${version}_${architecture}.deb`);
  run("env", [
    "SOURCE_DATE_EPOCH=0",
    "dpkg-deb",
    "-Zgzip",
    "--root-owner-group",
    "--build",
    tree,
    file,
  ]);
  rmSync(tree, { recursive: true });
}

/** Section 5.3 of Debian's policy. */
function control({ version, architecture }: DebianOptions, kibibytes: number): string {
  return `Package: picoclaw
Version: ${version}
Architecture: ${architecture}
Maintainer: The picoclaw developers <picoclaw@localhost>
Installed-Size: ${kibibytes}
Depends: libc6 (>= 2.31)
Recommends: bubblewrap, ca-certificates
Suggests: mosquitto
Section: net
Priority: optional
Description: AI agent behind an MQTT topic
 Any MQTT client publishes a question; an agent that knows the device works on
 it and publishes the answer. "picoclaw try" shows it without a broker and
 without a configuration; "picoclaw service install" makes it a service.
`;
}
