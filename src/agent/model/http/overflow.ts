/**
 * How providers say that a conversation is longer than their model can read; there is no common code.
 * In the order of the lines: OpenAI and its likes, Anthropic, Gemini, Moonshot and xAI, vLLM and Mistral,
 * Ollama and llama.cpp, LM Studio, Qwen and Zhipu.
 */
const WORDS = [
  /context_length_exceeded|exceeds? the context (?:window|length)|context_window_exceeded/,
  /prompt is too long|input is too long|exceed context limit|request_too_large/,
  /exceeds the maximum number of tokens/,
  /exceeded model token limit|maximum prompt length is/,
  /maximum context length|maximum model length|max_model_len/,
  /exceed_context_size|exceeds the available context size|prompt too long|max context length/,
  /greater than the context length|context length of only|context the overflows/,
  /range of input length|input token length too long|prompt exceeds max length|context window exceeds/,
];

/** Statuses of their own meaning: a limit on tokens a minute is said in much the same words. */
const OTHERWISE: ReadonlySet<number> = new Set([401, 402, 403, 404, 408, 429]);

/** Whether an error says that the conversation is too long for the model. */
export function isOverflow(status: number, words: string): boolean {
  if (status === 413) return true;
  return !OTHERWISE.has(status) && WORDS.some((pattern) => pattern.test(words.toLowerCase()));
}
