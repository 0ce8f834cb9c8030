/** Keys of Go PicoClaw that have no effect here and give no warning as unknown keys. */
export const GO_KEYS = {
  root: [
    "version",
    "bindings",
    "build_info",
    "channels",
    "devices",
    "events",
    "evolution",
    "isolation",
    "memory",
    "providers",
    "skills",
    "voice",
    "web",
  ],
  session: ["identity_links"],
  tools: [
    "delegate",
    "find_skills",
    "i2c",
    "install_skill",
    "media_cleanup",
    "reaction",
    "send_file",
    "send_tts",
    "serial",
    "spi",
  ],
  web: ["baidu_search", "gemini", "glm_search", "kagi", "perplexity", "prefer_native", "sogou"],
  agents: ["list", "dispatch"],
  agentDefaults: [
    "context_manager",
    "context_manager_config",
    "image_model",
    "image_model_fallbacks",
    "max_media_size",
    "split_on_marker",
    "steering_mode",
    "subturn",
    "tool_feedback",
  ],
  gateway: ["hot_reload"],
  model: ["auth_method", "connect_mode", "streaming", "workspace"],
  channel: ["group_trigger", "placeholder", "reasoning_channel_id", "typing"],
} as const;

/** Variables with which Go PicoClaw sets what this program does not use. */
export const GO_VARIABLES: readonly string[] = [
  ...GO_KEYS.agentDefaults.map((key) => `PICOCLAW_AGENTS_DEFAULTS_${key.toUpperCase()}`),
  ...GO_KEYS.tools.map((key) => `PICOCLAW_TOOLS_${key.toUpperCase()}`),
  ...GO_KEYS.web.map((key) => `PICOCLAW_TOOLS_WEB_${key.toUpperCase()}`),
];

/** Channel types of Go PicoClaw that are not supported here. */
export const OTHER_CHANNEL_TYPES: ReadonlySet<string> = new Set([
  "deltachat",
  "dingtalk",
  "discord",
  "feishu",
  "irc",
  "line",
  "maixcam",
  "matrix",
  "mattermost",
  "onebot",
  "pico",
  "pico_client",
  "qq",
  "slack",
  "slack_webhook",
  "teams_webhook",
  "telegram",
  "vk",
  "wecom",
  "weixin",
  "whatsapp",
  "whatsapp_native",
]);

/** Log levels of Go PicoClaw as the nearest level here. */
export const GO_LOG_LEVELS = {
  trace: "debug",
  warning: "warn",
  fatal: "error",
  panic: "error",
} as const;

/** Searches of Go PicoClaw that are not built here; the first usable one replaces them. */
export const GO_SEARCHES = {
  sogou: "auto",
  kagi: "auto",
  perplexity: "auto",
  gemini: "auto",
  glm_search: "auto",
  baidu_search: "auto",
} as const;

/** `session.dm_scope` as `session.dimensions`. */
export const DM_SCOPES = {
  "": ["chat"],
  "per-channel-peer": ["chat", "sender"],
  "per-channel": ["chat"],
  "per-peer": ["sender"],
  global: [],
} as const;

/**
 * Hosts that need a key. Go PicoClaw writes entries for them into every configuration, with an address
 * and without a key.
 */
export const GO_CLOUD_HOSTS: ReadonlySet<string> = new Set([
  "api.anthropic.com",
  "api.avian.io",
  "api.cerebras.ai",
  "api.deepseek.com",
  "api.groq.com",
  "api.longcat.chat",
  "api.minimaxi.com",
  "api.mistral.ai",
  "api.moonshot.cn",
  "api.novita.ai",
  "api.openai.com",
  "api.shengsuanyun.com",
  "api.siliconflow.cn",
  "api.venice.ai",
  "api.vivgrid.com",
  "api.xiaomimimo.com",
  "api.z.ai",
  "api-inference.modelscope.cn",
  "ark.cn-beijing.volces.com",
  "coding-intl.dashscope.aliyuncs.com",
  "dashscope.aliyuncs.com",
  "dashscope-intl.aliyuncs.com",
  "dashscope-us.aliyuncs.com",
  "generativelanguage.googleapis.com",
  "integrate.api.nvidia.com",
  "open.bigmodel.cn",
  "openrouter.ai",
  "router.shengsuanyun.com",
]);
