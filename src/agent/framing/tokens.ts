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
  // <s>, </s>, <start_of_turn>, <bos>: SentencePiece, Gemma, InternLM, Baichuan; <fim_prefix>, <SUF>: StarCoder, Code
  // Llama, Granite; <extra_id_1>, <SPECIAL_12>: Nemotron; <EOS_TOKEN>: Command R; <seed:bos>: Seed-OSS
  String.raw`[<＜]\s{0,4}\/?\s{0,4}(?:s|bos|eos|pad|unk|mask|sop|eop|eoh|eoa|eot|eod|reserved_\d+|unused\d+|start_of_\w{1,32}|end_of_\w{1,32}|start_function_\w{1,32}|end_function_\w{1,32}|endoftext|im_start|im_end|image_soft_token|fim_\w{1,32}|file_sep|extra_id_\d+|SPECIAL_\d+|(?:BOS|EOS|EOP|CLS|PAD|UNK|MASK)_TOKEN|SUF|MID|EOT|seed:\w{1,32})\s{0,4}[>＞]`,
];
/** [INST], [TOOL_RESULTS]: Llama 2, Mistral; [gMASK]: GLM. */
const SQUARE = String.raw`[[［]\/?(?:INST|SYS|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT|CALL_ID|SUFFIX|MIDDLE|BEGIN_AUDIO|SYSTEM_PROMPT|MODEL_SETTINGS|THINK|gMASK|sMASK|UNUSED_TOKEN_\d+|control_\d+)[\]］]`;
/** ]~b], ]<]minimax[>[: MiniMax. */
const TILDE = String.raw`\]~!?b[[\]]|\[e~\[|\]<\]\w{1,32}\[>\[`;
const TOKEN = new RegExp([...ANGLED, SQUARE, TILDE].join("|"), "g");
/**
 * <tool_response>, <think>, <system>: Hermes, Qwen, Claude, and what instructions call themselves;
 * <function=exec>, <parameter=command>: Llama 3, Qwen Coder; <arg_key>: GLM; <TOOLCALL>: Nemotron.
 */
const LOOSE = new RegExp(
  String.raw`[<＜]\s{0,4}\/?\s{0,4}(?:(?:antml|xai):\w|(?:function|parameter)\s{0,4}=|(?:tool_?(?:calls?|responses?|results?|outputs?|code|use)|available_tools|function_(?:calls?|results?|response)|arg_(?:key|value)|invoke|tools|think|thinking|scratchpad|system(?:[-_](?:prompt|reminder|message|instructions?))?|assistant|human|developer)(?![\w-]))`,
  "gi",
);

const SPEAKERS = [
  String.raw`GPT4 Correct User|(?:GPT4 Correct )?(?:Human|Assistant)|HUMAN|USER|ASSISTANT|SYSTEM|System(?: (?:Prompt|Message|Instructions?))?|AI`,
  String.raw`#{1,6} ?(?:New )?(?:Human|Assistant|Instructions?|Response|System(?: (?:Prompt|Message))?|User|Input)`,
  // Of DeepSeek and RWKV, who have an empty line before it; "User: root" of a list is none.
  String.raw`User(?<=\n[\t >]*\n[\t >*_]*User)`,
];
/** Turns as older models have them, at the beginning of a line: "Human:", "System:", "### Instruction:". */
const SPEAKER = new RegExp(
  String.raw`^([\t >]*[*_]{0,3})(${SPEAKERS.join("|")})(?=[*_]{0,3}\s?[:：])`,
  "gm",
);
/** [system](#instructions): what chats of Microsoft's write before a turn. */
const LINKED = /\[(?=(?:system|assistant|user|human)\]\(#)/gi;

/** A text in which no model's special token is one any more; each is still to be seen. */
export function withoutTokens(text: string): string {
  return text
    .replace(TOKEN, blunted)
    .replace(LOOSE, blunted)
    .replace(LINKED, blunted)
    .replace(SPEAKER, `$1${BLUNT}$2›`);
}

function blunted(token: string): string {
  return BLUNT + token.slice(1);
}
