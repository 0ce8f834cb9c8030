import type { IncomingMessage, ServerResponse } from "node:http";
import { asFailure } from "../../base/failure.ts";
import type { Log } from "../../base/log.ts";
import { withoutTexts } from "../http/local-access.ts";
import type { GatewayStatus } from "../statistics/contract.ts";
import { createAccessControl, EXPIRED_COOKIE, isOwnForm } from "./access.ts";
import type { Access, AccessControl } from "./access.ts";
import { createAnswers } from "./answers.ts";
import type { Answers } from "./answers.ts";
import type { View } from "./browser/html.js";
import { checks, conversations, messages, settings } from "./browser/views.js";
import type { PageCheck, PageSources } from "./contract.ts";
import {
  askContent,
  documentOf,
  failureContent,
  loginContent,
  overviewContent,
  TITLES,
  titled,
} from "./document.ts";
import type { PageName } from "./document.ts";
import { createEvents } from "./events.ts";
import type { Events } from "./events.ts";
import { pageFile } from "./files.ts";
import { HTML, redirect, send, sendFile, sendText } from "./responses.ts";

export interface PageOptions {
  readonly sources: PageSources;
  /** Opens texts, settings and the box to ask, and from another machine all of it. */
  readonly token: () => Promise<string>;
  /** Where the token is, for someone at this machine. */
  readonly hint: string;
  readonly log: Log;
}

/** The page of a gateway. */
export interface Page {
  /** Answers one request, whatever it asks for. Does not reject. */
  readonly serve: (request: IncomingMessage, response: ServerResponse) => Promise<void>;
}

export function createPage(options: PageOptions): Page {
  const { log, sources, token } = options;
  const control = createAccessControl({ token, now: () => performance.now() });
  const parts = {
    ...options,
    control,
    events: createEvents(sources.status),
    answers: createAnswers(sources),
    runChecks: createChecks(sources),
  };
  return {
    async serve(request, response) {
      try {
        await answer({ ...parts, request, response });
      } catch (thrown) {
        log.warn("the page failed", { why: asFailure(thrown).message });
        if (response.headersSent) response.destroy();
        else sendText(response, 500, "The gateway could not make this page; its log says why.");
      }
    },
  };
}

interface Parts extends PageOptions {
  readonly control: AccessControl;
  readonly events: Events;
  readonly answers: Answers;
  readonly runChecks: () => Promise<readonly PageCheck[]>;
}

interface Visit extends Parts {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
}

/** Scripts and styles are files of the gateway; nothing comes from elsewhere. */
const HEADERS = {
  "content-security-policy":
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'self'",
  "x-content-type-options": "nosniff",
  "x-frame-options": "SAMEORIGIN",
  // With no-referrer, forms would be sent without an origin.
  "referrer-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "cross-origin-opener-policy": "same-origin",
};

const BASE = "http://gateway";
const NOWHERE = new URL("/unknown", BASE);

async function answer(visit: Visit): Promise<void> {
  const { request, response, control } = visit;
  for (const [name, value] of Object.entries(HEADERS)) response.setHeader(name, value);
  const url = urlOf(request);
  const name = url.pathname.slice(1);
  const access = await control.accessOf(request);
  if (access === "refused") {
    const help =
      "This name does not belong to the gateway: open http://localhost with its port, or log in with the token (docs/page.md).";
    return sendText(response, 403, help);
  }
  if (request.method === "POST") return post(visit, name, access);
  if (request.method !== "GET" && request.method !== "HEAD") {
    response.setHeader("allow", "GET, HEAD, POST");
    return sendText(response, 405, "Method not allowed");
  }
  const file = pageFile(name);
  if (file !== undefined) return sendFile(visit, await file);
  if (access !== "none" && name === "status.json") {
    const status = shownTo(access, await visit.sources.status());
    return send(visit, 200, { type: "application/json", text: JSON.stringify(status) });
  }
  if (access !== "none" && name === "events") {
    return visit.events.open(response, (status) => shownTo(access, status));
  }
  return show(visit, url, access);
}

/** The address of a request; one that is none leads nowhere. */
function urlOf({ url = "/" }: IncomingMessage): URL {
  return URL.canParse(url, BASE) ? new URL(url, BASE) : NOWHERE;
}

function shownTo(access: Access, status: GatewayStatus): GatewayStatus {
  return access === "full" ? status : withoutTexts(status);
}

/** Pages that only the token opens, with what is on them. */
const LOCKED: Readonly<
  Record<string, (visit: Visit, url: URL, status: GatewayStatus) => Promise<View>>
> = {
  ask: (_visit, _url, status) => Promise.resolve(askContent(status)),
  conversations: async ({ sources }) =>
    titled(TITLES.conversations, conversations(await sources.conversations(), Date.now())),
  conversation: async ({ sources }, url) => {
    const name = url.searchParams.get("name") ?? "";
    const found = await sources.conversation(name);
    return found && titled(`Conversation of ${found.client}`, messages(found.messages));
  },
  checks: async ({ response, runChecks }) => {
    // Some of them wait for others.
    response.socket?.setTimeout(2 * CHECKS_MS);
    return titled(TITLES.checks, checks(await runChecks()));
  },
  settings: async ({ sources }) => titled(TITLES.settings, settings(await sources.settings())),
};

async function show(visit: Visit, url: URL, access: Access): Promise<void> {
  const name = url.pathname.slice(1);
  if (name === "" && access !== "none") {
    return sendPage(visit, { page: "", title: TITLES[""], access }, (status) =>
      Promise.resolve(overviewContent(shownTo(access, status))),
    );
  }
  const content = Object.hasOwn(LOCKED, name) ? LOCKED[name] : undefined;
  if (name !== "" && content === undefined) return notFound(visit, access);
  const page = pageOf(name);
  if (access !== "full" || content === undefined) return sendLogin(visit, { access, page });
  return sendPage(visit, { page, title: TITLES[page], access }, (status) =>
    content(visit, url, status),
  );
}

/** The page of the navigation that a name belongs to. */
function pageOf(name: string): PageName {
  if (name === "conversation") return "conversations";
  return isPageName(name) ? name : "";
}

function isPageName(name: string): name is PageName {
  return Object.hasOwn(TITLES, name);
}

interface Shown {
  readonly page?: PageName;
  readonly title: string;
  readonly access: Access;
}

async function sendPage(
  visit: Visit,
  shown: Shown,
  content: (status: GatewayStatus) => Promise<View>,
): Promise<void> {
  const options = { ...shown, status: await visit.sources.status() };
  let made: View;
  try {
    made = await content(options.status);
  } catch (thrown) {
    const { message, remedy } = asFailure(thrown);
    made = failureContent(shown.title, message, remedy);
  }
  if (made === undefined) return notFound(visit, shown.access);
  await send(visit, 200, { type: HTML, text: documentOf(options, made) });
}

async function notFound(visit: Visit, access: Access): Promise<void> {
  const options = { title: "Not found", access, status: await visit.sources.status() };
  const content = failureContent("Not found", "There is no such page.");
  await send(visit, 404, { type: HTML, text: documentOf(options, content) });
}

async function sendLogin(
  visit: Visit,
  facts: { readonly access: Access; readonly page: PageName; readonly message?: string },
): Promise<void> {
  const options = { title: "Log in", access: facts.access, status: await visit.sources.status() };
  const content = loginContent({ hint: visit.hint, ...facts });
  const page = { ...options, page: facts.page };
  await send(visit, 401, { type: HTML, text: documentOf(page, content) });
}

async function post(visit: Visit, name: string, access: Access): Promise<void> {
  const { request, response, answers } = visit;
  if (!isOwnForm(request)) {
    request.resume();
    return sendText(response, 403, "This form was not sent by the page of this gateway.");
  }
  const form = await readForm(request);
  if (form === undefined) return sendText(response, 413, "This is too much text.");
  if (name === "login") return login(visit, form, access);
  if (name === "logout") {
    response.setHeader("set-cookie", EXPIRED_COOKIE);
    return redirect(response, "./");
  }
  if (name !== "ask") return notFound(visit, access);
  if (access !== "full") return sendLogin(visit, { access, page: "ask" });
  const status = await visit.sources.status();
  return answers.answer(form, { request, response, status });
}

async function login(visit: Visit, form: URLSearchParams, access: Access): Promise<void> {
  const { control, request, response } = visit;
  const page = pageOf(form.get("page") ?? "");
  const cookie = await control.login(request, form.get("token") ?? "");
  if (cookie !== undefined) {
    response.setHeader("set-cookie", cookie);
    return redirect(response, `./${page}`);
  }
  const message = control.mayTry(request)
    ? "This is not the token."
    : "Too many wrong tokens: try again in a minute.";
  return sendLogin(visit, { access, page, message });
}

const CHECKS_MS = 30_000;

/** Whoever asks while checks run gets the same ones. */
function createChecks({ checks: check }: PageSources): () => Promise<readonly PageCheck[]> {
  let running: Promise<readonly PageCheck[]> | undefined;
  return () => {
    running ??= check(AbortSignal.timeout(CHECKS_MS)).finally(() => (running = undefined));
    return running;
  };
}

/** Bytes of a form. */
const MOST_BYTES = 65_536;

/** The fields of a form; undefined if they are too much, or of another kind. */
async function readForm(request: IncomingMessage): Promise<URLSearchParams | undefined> {
  const type = request.headers["content-type"] ?? "";
  if (!type.startsWith("application/x-www-form-urlencoded")) {
    request.resume();
    return undefined;
  }
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > MOST_BYTES) return undefined;
    chunks.push(chunk);
  }
  return new URLSearchParams(Buffer.concat(chunks).toString("utf8"));
}
