import { BLUNT } from "./tag.ts";

/**
 * Words by which chat templates tell who speaks: a server that does not escape them would take them for
 * the end of a result and the beginning of another's turn. Written as the tokenizers have them; case
 * matters for the short ones, which are ordinary words otherwise.
 */
const ANGLED = [
  // <|im_end|>, <|eot_id|>, <｜User｜>, <|channel|>: ChatML, Llama 3 and 4, DeepSeek, Phi, Kimi, GLM, gpt-oss
  String.raw`[<＜][|｜][^\s<>＜＞|｜]{1,64}[|｜][>＞]`,
  // <<SYS>>: Llama 2
  String.raw`<<\s{0,4}\/?\s{0,4}SYS\s{0,4}>>`,
  // <s>, </s>, <start_of_turn>, <bos>: SentencePiece, Gemma, InternLM, Baichuan
  String.raw`[<＜]\s{0,4}\/?\s{0,4}(?:s|bos|eos|pad|unk|mask|sop|eop|eoh|eoa|eot|eod|reserved_\d+|unused\d+|start_of_turn|end_of_turn|start_of_image|endoftext|im_start|im_end)\s{0,4}[>＞]`,
];
/** [INST], [TOOL_RESULTS]: Llama 2, Mistral; [gMASK]: GLM. */
const SQUARE = String.raw`[[［]\/?(?:INST|SYS|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT|SYSTEM_PROMPT|MODEL_SETTINGS|THINK|gMASK|sMASK|UNUSED_TOKEN_\d+|control_\d+)[\]］]`;
/** ]~b]: MiniMax. */
const TILDE = String.raw`\]~!?b[[\]]|\[e~\[`;
const TOKEN = new RegExp([...ANGLED, SQUARE, TILDE].join("|"), "g");
/** <tool_response>, <think>, <system>: Hermes, Qwen, Claude, and what instructions call themselves. */
const LOOSE = new RegExp(
  String.raw`[<＜]\s{0,4}\/?\s{0,4}(?:antml:)?(?:tool_(?:calls?|responses?|results?|outputs?)|function_(?:calls?|results?|response)|invoke|tools|think|thinking|scratchpad|system(?:[-_](?:prompt|reminder|message|instructions?))?|assistant|human|developer)(?![\w-])`,
  "gi",
);

/** Turns as older models have them, at the beginning of a line: "Human:", "### Instruction:". */
const SPEAKER =
  /^([\t >]*)((?:#{2,3} ?)?(?:Human|Assistant)|USER|ASSISTANT|SYSTEM|#{2,3} ?(?:Instructions?|Response|System|User|Input))(?=\s?[:：])/gm;

/** A text in which no model's special token is one any more; each is still to be seen. */
export function withoutTokens(text: string): string {
  return text.replace(TOKEN, blunted).replace(LOOSE, blunted).replace(SPEAKER, `$1${BLUNT}$2›`);
}

function blunted(token: string): string {
  return BLUNT + token.slice(1);
}
