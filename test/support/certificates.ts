import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { run } from "./channel.ts";

const DAY_MS = 86_400_000;

/** ASN.1's GeneralizedTime, `days` from now. */
function timeIn(days: number): string {
  const date = new Date(Date.now() + days * DAY_MS).toISOString();
  return `${date.slice(0, 19).replaceAll(/[-:T]/g, "")}Z`;
}

function openssl(words: string): Promise<unknown> {
  return run("openssl", ...words.split(" "));
}

export interface CertificateOptions {
  /** From now to its end. */
  readonly days: number;
  /** From now to its beginning. */
  readonly from?: number;
  /** As subjectAltName. */
  readonly names?: string;
}

/** A certificate that is signed by itself, in `b.crt` of the folder, and its key in `b.key`. */
export async function makeCertificate(
  folder: string,
  { days, from = -90, names = "DNS:localhost,IP:127.0.0.1" }: CertificateOptions,
): Promise<void> {
  const at = (file: string): string => join(folder, file);
  await writeFile(at("index.txt"), "");
  await writeFile(
    at("ca.cnf"),
    [
      `[ca]\ndefault_ca = own\n[own]\ndatabase = ${at("index.txt")}\nnew_certs_dir = ${folder}`,
      "rand_serial = yes\ndefault_md = sha256\npolicy = any\ncopy_extensions = copy",
      "[any]\ncommonName = supplied\n",
    ].join("\n"),
  );
  const key = `-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ${at("b.key")}`;
  await openssl(
    `req ${key} -subj /CN=localhost -addext subjectAltName=${names} -out ${at("b.csr")}`,
  );
  const term = `-startdate ${timeIn(from)} -enddate ${timeIn(days)}`;
  const files = `-in ${at("b.csr")} -out ${at("b.crt")} -keyfile ${at("b.key")}`;
  await openssl(`ca -batch -selfsign -config ${at("ca.cnf")} ${term} ${files}`);
}
