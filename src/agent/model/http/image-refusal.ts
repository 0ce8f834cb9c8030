import type { ModelCall } from "../contract.ts";
import { ModelError } from "../errors.ts";

/**
 * The words of servers whose model reads no images. By line: OpenAI; OpenAI, Ollama, LM Studio, Bedrock;
 * OpenRouter, llama.cpp, xAI; vLLM; Ollama; DeepSeek; Groq; Mistral, Gemini; NVIDIA; llama.cpp. The last one has
 * them with a 500, OpenRouter with a 404.
 */
const WORDS = [
  /image_url is only supported by certain models|invalid content type\b.*\bimage|invalid value: '(?:input_image|image_url)'/,
  /(?:not|n't) (?:support|accept|handle|process|have)\b.{0,30}\b(?:images?|vision|multi-?modal)/,
  /support (?:image|vision|multi-?modal) inputs?|images? inputs? (?:is|are) not|images? (?:is|are) not (?:supported|allowed)/,
  /(?:is not|not) a (?:multi-?modal|vision)|at most 0 image/,
  /missing data required for image input/,
  /unknown variant `(?:image_url|image|input_image)`/,
  /content\b.{0,60}\b(?:must be a string|should be a valid string|expected (?:a )?string)/,
  /image (?:content|input|modality|blocks?) .{0,30}\bnot (?:enabled|supported|available)/,
  /multi-?modal\b.{0,30}\bnot (?:enabled|supported|available)/,
  /not compiled for multimodal|provide the mmproj/,
];

/** The same error, or one of the kind `imageless` if it says of a call with images that the model reads none. */
export function orImageless(error: ModelError, call: ModelCall): ModelError {
  const { message, status = 0 } = error;
  if (!hasImages(call) || OTHERWISE.has(status)) return error;
  const words = message.toLowerCase();
  if (!WORDS.some((pattern) => pattern.test(words))) return error;
  return new ModelError("imageless", message, { status });
}

/** Statuses with another meaning. */
const OTHERWISE: ReadonlySet<number> = new Set([401, 402, 403, 408, 413, 429]);

export function hasImages({ messages }: Pick<ModelCall, "messages">): boolean {
  return messages.some(({ images }) => images !== undefined);
}
