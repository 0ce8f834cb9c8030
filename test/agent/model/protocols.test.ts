import { ANTHROPIC } from "../../support/anthropic-server.ts";
import { AZURE, CHAT } from "../../support/chat-dialect.ts";
import { GEMINI } from "../../support/gemini-server.ts";
import { describeProtocol } from "./protocol-contract.ts";

for (const dialect of [CHAT, AZURE, ANTHROPIC, GEMINI]) describeProtocol(dialect);
