import type { MqttChannel } from "../../config/contract.ts";
import { modelOf } from "../../gateway/ollama/models.ts";
import { createOllama, type Ollama } from "../../gateway/ollama/ollama.ts";
import { askOn } from "../runtime/ask-as-clients.ts";
import { accessFor, type HttpSubject } from "./clients.ts";

export function openOllama(subject: HttpSubject, channel: MqttChannel): Ollama {
  return createOllama({
    model: modelOf(channel.settings.agent_id, new Date()),
    accessOf: accessFor("ollama", subject),
    ask: askOn(channel, subject.runtime),
    log: subject.log,
  });
}
