import type { Command } from "./command.ts";
import { CONNECTION_FLAGS } from "./flags.ts";

export const ONBOARD: Command = {
  name: "onboard",
  aliases: ["o"],
  summary: "set up broker, agent and model, and ask the first question",
  arguments: [],
  flags: ["model", "api-base", "api-key-file", "workspace", "yes", "timeout", ...CONNECTION_FLAGS],
  detail: [
    "Looks for a broker on this machine, for keys in the environment (OPENAI_API_KEY, ANTHROPIC_API_KEY, GEMINI_API_KEY) and for Ollama, LM Studio, llama.cpp and vLLM, and asks what to use; Enter takes what it found. A flag answers its question. Without a broker it offers the built-in one, without a model the offline agent.",
    "What the configuration has stays, and its files are copied before they change. It shows the difference before it writes. Keys and passwords go into .security.yml, which only its owner can read, encrypted if PICOCLAW_KEY_PASSPHRASE is set. A new key is tried with one call.",
    "In the end it asks the agent through the broker: the gateway that runs, or one inside this process.",
  ],
  examples: [
    { line: "picoclaw onboard", does: "answer five questions, mostly with Enter" },
    { line: "picoclaw onboard --yes", does: "take everything that is found" },
    {
      line: "picoclaw onboard --yes --model openai/gpt-5.4 --api-key-file key.txt",
      does: "for a script",
    },
  ],
  exits: [3, 4, 5, 6, 7, 78, 130, 143],
};
