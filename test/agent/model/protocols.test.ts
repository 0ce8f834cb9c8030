import { ANTHROPIC } from "../../support/anthropic-server.ts";
import { BEDROCK } from "../../support/bedrock-server.ts";
import { AZURE, CHAT } from "../../support/chat-dialect.ts";
import { GEMINI, VERTEX } from "../../support/gemini-server.ts";
import { AZURE_RESPONSES, RESPONSES } from "../../support/responses-server.ts";
import { describeProtocol } from "./protocol-contract.ts";

const DIALECTS = [CHAT, AZURE, RESPONSES, AZURE_RESPONSES, ANTHROPIC, GEMINI, VERTEX, BEDROCK];
for (const dialect of DIALECTS) describeProtocol(dialect);
