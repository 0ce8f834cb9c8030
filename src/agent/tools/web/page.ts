import { startDeadline } from "../../../base/async.ts";
import { readBody } from "./body.ts";
import type { Body, ByteBudget } from "./body.ts";
import { Refusal, request } from "./request.ts";
import type { Answer, RequestOptions } from "./request.ts";

/** A page that was fetched. */
export interface Page {
  /** The URL after all redirects. */
  readonly url: URL;
  readonly status: number;
  /** The content type that the server sent, or "". */
  readonly type: string;
  /** Absent if the type is not a text type. */
  readonly body?: Body;
  /** The content length that the server sent, or "". */
  readonly length: string;
}

export interface PageOptions extends RequestOptions {
  /** The most bytes of a body. */
  readonly most: number;
  /** Limits the bytes of all bodies that are being read. */
  readonly budget: ByteBudget;
  /** Total time, from the first DNS lookup to the last byte. */
  readonly milliseconds: number;
}

const MAX_REDIRECTS = 5;
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/**
 * Fetches a page and follows redirects; each redirect is checked like the first URL. Throws a `Refusal` for
 * a URL that must not be fetched, an error in plain words if it cannot be, and the signal's reason.
 */
export async function fetchPage(start: URL, options: PageOptions): Promise<Page> {
  const limit = startDeadline(options.milliseconds, { parent: options.signal });
  try {
    return await followRedirects(start, { ...options, signal: limit.signal });
  } catch (error) {
    options.signal.throwIfAborted();
    if (!limit.isOver()) throw error;
    throw new Error(`no answer within ${options.milliseconds / 1000} s`, { cause: error });
  } finally {
    limit.close();
  }
}

async function followRedirects(start: URL, options: PageOptions): Promise<Page> {
  let url = start;
  for (let redirects = 0; redirects <= MAX_REDIRECTS; redirects += 1) {
    assertFetchable(url);
    const answer = await request(url, options);
    try {
      const next = REDIRECTS.has(answer.status) ? answer.header("location") : "";
      if (next === "") return await pageOf(url, answer, options);
      url = nextUrl(next, url);
    } finally {
      answer.close();
    }
  }
  throw new Error(`it redirects more than ${MAX_REDIRECTS} times`);
}

function nextUrl(location: string, base: URL): URL {
  const url = URL.parse(location, base.href);
  if (url === null) throw new Error("it redirects to an invalid URL");
  if (url.hash === "") url.hash = base.hash;
  return url;
}

async function pageOf(url: URL, answer: Answer, options: PageOptions): Promise<Page> {
  const { status, header } = answer;
  const page = {
    url,
    status,
    type: header("content-type").trim().slice(0, 200),
    length: header("content-length"),
  };
  if (!isText(page.type)) return page;
  return { ...page, body: await readBody(answer, options) };
}

/** Whether bodies of a type are text. A body without a type may be text too. */
function isText(type: string): boolean {
  const name = type.split(";")[0]?.trim().toLowerCase() ?? "";
  return (
    name === "" ||
    name.startsWith("text/") ||
    /^application\/(?:.*\+)?(?:json|xml|yaml|x-yaml|toml|javascript|ecmascript|x-javascript|x-ndjson|ndjson|jsonl|sql|x-sh|graphql|x-www-form-urlencoded|rtf|x-tex|xhtml)$/.test(
      name,
    ) ||
    name === "image/svg+xml"
  );
}

/**
 * Ports of services with another protocol that could misread a request as their own: those that browsers
 * block (WHATWG Fetch, "port blocking"), and those of brokers, databases and desktops.
 */
const REFUSED_PORTS: ReadonlySet<number> = new Set([
  0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102,
  103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 445,
  465, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 873, 989,
  990, 993, 995, 1433, 1521, 1719, 1720, 1723, 1883, 2049, 3306, 3389, 3659, 4045, 4190, 5060, 5061,
  5432, 5671, 5672, 5900, 6000, 6379, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 8883, 9092,
  10080, 11211, 27017,
]);

/**
 * Checks a URL before its name is resolved, also at each redirect. Throws a `Refusal` for other schemes, for
 * credentials in the URL (`https://bank.example@evil.example` hides its host), and for blocked ports.
 */
function assertFetchable(url: URL): void {
  if (url.protocol !== "http:" && url.protocol !== "https:") {
    throw new Refusal("only http and https URLs can be fetched");
  }
  if (url.username !== "" || url.password !== "") {
    throw new Refusal("URLs with a user name or a password are not fetched");
  }
  if (url.port !== "" && REFUSED_PORTS.has(Number(url.port))) {
    throw new Refusal(`port ${url.port} is blocked`);
  }
}
