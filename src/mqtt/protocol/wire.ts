import type { RequestExtras } from "../../base/contract.ts";
import { Failure } from "../../base/failure.ts";
import { dataUrl, imageOf, NO_IMAGE } from "../../base/images.ts";
import { extrasOf } from "../../base/request-extras.ts";
import { at, isObject } from "../../base/unknown.ts";

/** The payload of a request (contract section 1, "Request payload"). */
export interface RequestPayload {
  readonly text: string;
  readonly id?: string | undefined;
  readonly stream?: boolean | undefined;
  /** The fields `format`, `images`, `max_chars` and `hops`. */
  readonly extras?: RequestExtras | undefined;
  /** The form of the answer's messages; that of the channel if undefined. */
  readonly accept?: AnswerType | undefined;
}

/** JSON objects, or the bare text. */
export type AnswerType = "application/json" | "text/plain";

/** The largest `max_chars`. */
const MOST_CHARS = 10_000;
/** The largest `hops`. */
const MOST_HOPS = 100;

/** One message of an answer (contract section 1, "Response payload"). */
export interface WirePart {
  readonly text: string;
  readonly id?: string | undefined;
  /** The agent began it by itself. */
  readonly push?: boolean | undefined;
  readonly seq?: number | undefined;
  readonly error?: WireError | undefined;
  readonly done?: boolean | undefined;
}

export interface WireError {
  readonly code: string;
  readonly retryAfter?: number | undefined;
}

/** In UTF-16 units. */
export const MAX_ID_LENGTH = 128;

export interface DecodeLimits {
  readonly plainText: boolean;
  /** Bytes. */
  readonly maxPayloadBytes: number;
  /** MQTT 5's Content Type. With that of an image the payload is the image itself. */
  readonly contentType?: string | undefined;
}

/** The text of a request that is only an image. */
const IMAGE_TEXT = "Describe this image.";

const EXAMPLE = 'send a JSON object such as {"text": "What is the CPU usage?"}';

/** Decodes the payload of a request; returns the failure to answer with (`bad_request`, `too_large`) if it is invalid. */
export function decodeRequest(
  payload: Uint8Array,
  { plainText, maxPayloadBytes, contentType }: DecodeLimits,
): RequestPayload | Failure {
  if (payload.byteLength > maxPayloadBytes) {
    return new Failure("too_large", `The request is larger than ${maxPayloadBytes} bytes.`);
  }
  if (contentType !== undefined && /^image\//i.test(contentType)) return imageRequest(payload);
  const source = utf8Of(payload);
  if (source === undefined) return refused("it is not valid UTF-8");
  const value = objectOf(source);
  if (value !== undefined) return payloadOf(value);
  if (!plainText) return refused("it is not a JSON object");
  return source.trim() === "" ? refused("its text is blank") : { text: source };
}

/** A payload that is an image. Its type is that of its bytes. */
function imageRequest(payload: Uint8Array): RequestPayload | Failure {
  const image = imageOf(payload);
  if (image !== undefined) return { text: IMAGE_TEXT, extras: { images: [image] } };
  return refused(`its content type is that of an image, but it ${NO_IMAGE}`);
}

function payloadOf(value: Record<string, unknown>): RequestPayload | Failure {
  const text = textOf(value);
  if (text instanceof Failure) return text;
  const options = optionsIn(value);
  if (options instanceof Failure) return options;
  const extras = extrasIn(value);
  if (typeof extras === "string") return refused(extras);
  return {
    text,
    ...options,
    ...(extras && { extras }),
  };
}

/** The id of a request, and how it wants to be answered. */
function optionsIn(
  value: Record<string, unknown>,
): Pick<RequestPayload, "id" | "stream" | "accept"> | Failure {
  const id = fieldOf(value, "id");
  const stream = fieldOf(value, "stream");
  if (id !== undefined && (typeof id !== "string" || id.length > MAX_ID_LENGTH)) {
    return refused(`its "id" is not a string of at most ${MAX_ID_LENGTH} characters`);
  }
  if (stream !== undefined && typeof stream !== "boolean") {
    return refused('its "stream" is neither true nor false');
  }
  const accept = acceptIn(value);
  if (accept === undefined && fieldOf(value, "accept") !== undefined) {
    return refused('its "accept" is neither "application/json" nor "text/plain"');
  }
  return {
    ...(id !== undefined && { id }),
    ...(stream !== undefined && { stream }),
    ...(accept && { accept }),
  };
}

function acceptIn(value: Record<string, unknown>): AnswerType | undefined {
  const accept = fieldOf(value, "accept");
  return accept === "application/json" || accept === "text/plain" ? accept : undefined;
}

function extrasIn(value: Record<string, unknown>): RequestExtras | string | undefined {
  const format = fieldOf(value, "format");
  const images = fieldOf(value, "images");
  const maxChars = fieldOf(value, "max_chars");
  if (maxChars !== undefined && !isWhole(maxChars, 1, MOST_CHARS)) {
    return `its "max_chars" is not a whole number from 1 to ${MOST_CHARS}`;
  }
  const hops = fieldOf(value, "hops");
  if (hops !== undefined && !isWhole(hops, 0, MOST_HOPS)) {
    return `its "hops" is not a whole number from 0 to ${MOST_HOPS}`;
  }
  const extras =
    format === undefined && images === undefined ? undefined : extrasOf(format, images);
  if (typeof extras === "string" || (maxChars === undefined && hops === undefined)) return extras;
  return { ...extras, ...(maxChars && { maxChars }), ...(hops && { hops }) };
}

function isWhole(value: unknown, least: number, most: number): value is number {
  return Number.isInteger(value) && Number(value) >= least && Number(value) <= most;
}

function textOf(value: Record<string, unknown>): string | Failure {
  const text = fieldOf(value, "text");
  if (text === undefined) return refused('it has no "text"');
  if (typeof text !== "string") return refused('its "text" is not a string');
  return text.trim() === "" ? refused('its "text" is blank') : text;
}

/** The `id` and `accept` of an invalid request, if at least they can be read: its error answer follows them. */
export function readableFacts(payload: Uint8Array): Pick<RequestPayload, "id" | "accept"> {
  const value = objectOf(utf8Of(payload) ?? "");
  if (value === undefined) return {};
  const id = fieldOf(value, "id");
  const isId = typeof id === "string" && id.length <= MAX_ID_LENGTH;
  return { id: isId ? id : undefined, accept: acceptIn(value) };
}

/** Finds a field by its exact name, else ignoring case, which clients of the Go program may rely on. */
function fieldOf(value: Record<string, unknown>, name: string): unknown {
  if (Object.hasOwn(value, name)) return value[name] ?? undefined;
  for (const key of Object.keys(value)) {
    if (key.toLowerCase() === name) return value[key] ?? undefined;
  }
  return undefined;
}

function refused(what: string): Failure {
  return new Failure("bad_request", `The request was not understood: ${what}; ${EXAMPLE}.`);
}

/** The payload of a request, as JSON. */
export function encodeRequest({ text, id, stream, extras, accept }: RequestPayload): string {
  const images = extras?.images?.map(dataUrl);
  const { format, maxChars: max_chars, hops } = extras ?? {};
  return JSON.stringify({ text, id, stream, accept, format, images, max_chars, hops });
}

/** The payload of a part; its keys have the order of the contract. */
export function encodePart(part: WirePart): string {
  const { text, id, error, seq } = part;
  const shown = error && { code: error.code, retry_after: error.retryAfter };
  const [push, done] = [part.push || undefined, part.done || undefined];
  return JSON.stringify({ text, id, push, error: shown, seq, done });
}

/** Decodes a message on a response topic; undefined if it does not follow the contract. */
export function decodePart(payload: Uint8Array): WirePart | undefined {
  const value = objectOf(utf8Of(payload) ?? "");
  if (value === undefined || typeof value["text"] !== "string") return undefined;
  const { id, push, seq, done } = value;
  const error = errorOf(value["error"]);
  return {
    text: value["text"],
    ...(typeof id === "string" && { id }),
    ...(push === true && { push }),
    ...(typeof seq === "number" && Number.isSafeInteger(seq) && seq >= 0 && { seq }),
    ...(error && { error }),
    ...(done === true && { done }),
  };
}

function errorOf(value: unknown): WireError | undefined {
  const code = at(value, "code");
  const retryAfter = at(value, "retry_after");
  if (typeof code !== "string") return undefined;
  return { code, ...(typeof retryAfter === "number" && { retryAfter }) };
}

/** The payload as text; undefined if it is not valid UTF-8. */
export function utf8Of(payload: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(payload);
  } catch {
    return undefined;
  }
}

/** The JSON object that the text is; undefined if it is none. */
function objectOf(source: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(source);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
