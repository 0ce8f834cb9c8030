import type { GatewayStatus } from "../../statistics/contract.ts";
import type { PageCheck, PageConversation, PageMessage, PageSetting } from "../contract.ts";
import type { View } from "./html.js";

export function health(status: GatewayStatus): View;
export function figures(status: GatewayStatus): View;
/** Requests, clients and channels. */
export function lists(status: GatewayStatus): View;
export function conversations(all: readonly PageConversation[], now: number): View;
export function messages(all: readonly PageMessage[]): View;
export function checks(all: readonly PageCheck[]): View;
export function settings(all: readonly PageSetting[]): View;
