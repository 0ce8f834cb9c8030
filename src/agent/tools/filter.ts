import type { Config } from "../../config/contract.ts";
import type { Tool } from "./contract.ts";

export interface SecretFilterOptions {
  readonly config: Pick<Config, "model_list" | "channels" | "tools">;
}

/** Replaces secrets in a text that is on its way to a model. */
export type SecretFilter = (text: string) => string;

const MASK = "[FILTERED]";
/** Values that are no longer would mask ordinary words. */
const LEAST = 4;
/** A secret shorter than this is looked for in whole base64 alone: a part of it would be too common. */
const LEAST_WITHIN = 8;
/** Headers whose values are secrets, by what they are called. */
const SECRET_NAME = /auth|key|token|secret|cookie|sig|pass/i;

/**
 * A filter for the secrets of a configuration: keys of models and searches, headers that hold
 * credentials, passwords of brokers, proxies and other addresses; as they are, and in base64, URL encoding and JSON.
 * Leaves all as it is where the settings say so.
 */
export function createSecretFilter({ config }: SecretFilterOptions): SecretFilter {
  const { filter_sensitive_data, filter_min_length } = config.tools;
  const forms = filter_sensitive_data ? formsOf(secretsIn(config)) : [];
  if (forms.length === 0) return (text) => text;
  return (text) => (text.length < filter_min_length ? text : masked(text, forms));
}

/** The tool with its results, and the messages of what it throws, filtered. */
export function withFilter(tool: Tool, filter: SecretFilter): Tool {
  return {
    ...tool,
    async run(input, call) {
      try {
        return filter(await tool.run(input, call));
      } catch (thrown) {
        call.signal.throwIfAborted();
        if (!(thrown instanceof Error)) throw thrown;
        const message = filter(thrown.message);
        // What holds no secret stays itself: its caller may know it.
        throw message === thrown.message ? thrown : new Error(message);
      }
    },
  };
}

/** Secrets that overlap are masked together, so that no end of one is left behind another. */
function masked(text: string, forms: readonly string[]): string {
  const found = forms.flatMap((form) => placesOf(form, text));
  if (found.length === 0) return text;
  let result = "";
  let end = 0;
  for (const place of found.toSorted((left, right) => left.start - right.start)) {
    if (place.start > end || result === "") {
      result += `${text.slice(end, place.start)}${MASK}`;
    }
    end = Math.max(end, place.end);
  }
  return result + text.slice(end);
}

interface Place {
  readonly start: number;
  readonly end: number;
}

function placesOf(form: string, text: string): Place[] {
  const places: Place[] = [];
  for (let start = text.indexOf(form); start !== -1; start = text.indexOf(form, start + 1)) {
    places.push({ start, end: start + form.length });
  }
  return places;
}

function secretsIn({ model_list, channels, tools }: SecretFilterOptions["config"]): string[] {
  const { brave, tavily, searxng, proxy } = tools.web;
  const keys = [...model_list, brave, tavily].flatMap(({ api_keys }) => api_keys);
  const passwords = channels.flatMap(({ settings: { password } }) => password ?? []);
  const urls = [
    proxy,
    searxng.base_url,
    tavily.base_url,
    ...model_list.flatMap((entry) => [entry.proxy, entry.api_base]),
    ...channels.map(({ settings }) => settings.broker),
  ];
  return [
    ...[...keys, ...passwords].map((secret) => secret.reveal()),
    ...model_list.flatMap(({ custom_headers }) => headerSecrets(custom_headers)),
    ...urls.flatMap(passwordIn),
  ].map((secret) => secret.trim());
}

/** Of `Bearer sk-…` both the whole and the key count. */
function headerSecrets(headers: Readonly<Record<string, string>>): string[] {
  const values = Object.entries(headers).filter(([name]) => SECRET_NAME.test(name));
  return values.flatMap(([, value]) => [value, value.replace(/^\w+\s+/, "")]);
}

function passwordIn(url: string): string[] {
  const password = URL.parse(url)?.password ?? "";
  try {
    return [password, decodeURIComponent(password)];
  } catch {
    return [password];
  }
}

/** All that is looked for, the longest first. */
function formsOf(secrets: readonly string[]): string[] {
  const long = [...new Set(secrets)].filter((secret) => secret.length >= LEAST);
  return [...new Set(long.flatMap(spellingsOf))].toSorted(
    (left, right) => right.length - left.length,
  );
}

function spellingsOf(secret: string): string[] {
  const encoded = encodeURIComponent(secret.toWellFormed());
  const form = new URLSearchParams([["", secret]]).toString().slice(1);
  const urls = [encoded, form].flatMap((text) => [
    text,
    text.replaceAll(/%[\dA-F]{2}/g, (code) => code.toLowerCase()),
  ]);
  return [secret, JSON.stringify(secret).slice(1, -1), ...urls, ...base64Of(secret)];
}

function base64Of(secret: string): string[] {
  const bytes = Buffer.from(secret);
  const whole = bytes.toString("base64").replaceAll("=", "");
  const parts = bytes.length < LEAST_WITHIN ? [] : [0, 1, 2].map((before) => within(bytes, before));
  const texts = [whole, ...parts];
  return texts.flatMap((text) => [text, text.replaceAll("+", "-").replaceAll("/", "_")]);
}

/** What base64 makes of the bytes wherever they stand in a longer text, `before` bytes after a third. */
function within(bytes: Buffer, before: number): string {
  const padded = Buffer.concat([Buffer.alloc(before), bytes]).toString("base64");
  // Characters at the edges hold bits of the neighbours as well.
  return padded.slice(Math.ceil((before * 8) / 6), Math.floor(((before + bytes.length) * 8) / 6));
}
