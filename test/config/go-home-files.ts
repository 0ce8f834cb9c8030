/** What Go PicoClaw writes besides channels and models, and this program does not use. */
export const rest = {
  session: { dimensions: ["chat"], dm_scope: "per-channel", identity_links: {} },
  isolation: { enabled: false, expose_paths: [] },
  evolution: { enabled: false },
  events: { logging: { enabled: true, include: ["agent.*"], min_severity: "info" } },
  hooks: { enabled: true, defaults: { observer_timeout_ms: 500, interceptor_timeout_ms: 5000 } },
  tools: {
    allow_read_paths: null,
    filter_sensitive_data: true,
    filter_min_length: 8,
    web: {
      enabled: true,
      provider: "auto",
      brave: { enabled: false, max_results: 5, api_keys: ["[NOT_HERE]"] },
      sogou: { enabled: true },
    },
    cron: { enabled: true, exec_timeout_minutes: 5, allow_command: true },
    exec: {
      enabled: true,
      enable_deny_patterns: true,
      custom_deny_patterns: null,
      timeout_seconds: 60,
    },
    skills: {
      enabled: true,
      registries: { clawhub: { enabled: true, base_url: "https://clawhub.ai" } },
    },
    mcp: {
      enabled: false,
      discovery: { enabled: false, ttl: 5 },
      servers: { filesystem: { enabled: false, command: "npx", args: ["-y", "x"], env: {} } },
    },
    read_file: { enabled: true, mode: "bytes", max_read_file_size: 65536 },
    i2c: { enabled: false },
  },
  heartbeat: { enabled: true, interval: 30 },
  devices: { enabled: false, monitor_usb: true },
  voice: { model_name: "", echo_transcription: false },
  build_info: { version: "v0.2.5", git_commit: "x", build_time: "x", go_version: "go1.25" },
};

export const defaults = {
  workspace: "~/.picoclaw/workspace",
  restrict_to_workspace: true,
  allow_read_outside_workspace: false,
  provider: "",
  model_fallbacks: ["b"],
  max_tokens: 8192,
  temperature: 0.7,
  max_tool_iterations: 20,
  summarize_message_threshold: 20,
  summarize_token_percent: 75,
  steering_mode: "one-at-a-time",
  subturn: { max_depth: 3, max_concurrent: 5 },
  tool_feedback: { enabled: false, max_args_length: 300, separate_messages: false },
  routing: { enabled: true, light_model: "gemini-flash", threshold: 0.35 },
};

/** Other channels, flat as up to version 2. */
export const flatChannels = {
  telegram: {
    enabled: false,
    token: "YOUR_TELEGRAM_BOT_TOKEN",
    proxy: "",
    allow_from: ["YOUR_USER_ID"],
  },
  discord: {
    enabled: false,
    token: "x",
    mention_only: false,
    group_trigger: { mention_only: false },
  },
  maixcam: { enabled: false, host: "0.0.0.0", port: 18790, allow_from: [] },
  whatsapp: { enabled: false, bridge_url: "ws://localhost:3001", allow_from: [] },
  feishu: { enabled: false, app_id: "", app_secret: "", random_reaction_emoji: [] },
  onebot: {
    enabled: false,
    ws_url: "ws://127.0.0.1:3001",
    group_trigger_prefix: ["/"],
    reconnect_interval: 5,
  },
  line: { enabled: false, webhook_port: 18791, webhook_path: "/webhook/line" },
  pico: { enabled: true, token: "", allow_token_query: false, max_connections: 100 },
};

const flatMqtt = {
  enabled: true,
  broker: "ssl://broker.lan:8883",
  agent_id: "kitchen",
  allow_from: [12345, "phone"],
  keep_alive: 30,
  qos: 1,
};

const models = [
  { model_name: "gpt", model: "openai/gpt-5.4", api_base: "https://api.openai.com/v1" },
  { model_name: "gpt", model: "openai/gpt-5.4", api_base: "https://llm.example.com/v1", rpm: 10 },
  { model_name: "claude", model: "anthropic/claude-sonnet-4.6", thinking_level: "high" },
  { model_name: "llama3", model: "ollama/llama3", api_base: "http://localhost:11434/v1" },
];

const security = `# secrets
channels:
  mqtt:
    username: kitchen
    password: 0123e5
  telegram:
    token: 12345:abc
model_list:
  gpt:0:
    api_keys:
      - sk-1
      - sk-2
  gpt:1:
    api_keys: [sk-3]
web:
  brave:
    api_keys: [b]
skills:
  github:
    token: t
`;

const nestedSecurity = security
  .replace("channels:", "channel_list:")
  .replace(
    "    username: kitchen\n    password: 0123e5\n",
    "    settings:\n      username: kitchen\n      password: 0123e5\n",
  );

export const HOMES: readonly [name: string, config: object, security: string][] = [
  [
    "version 0",
    {
      agents: { defaults: { ...defaults, model: "gpt" } },
      bindings: [{ agent_id: "main", match: { channel: "telegram" } }],
      channels: { ...flatChannels, mqtt: flatMqtt },
      model_list: models,
      gateway: { host: "127.0.0.1", port: 18790 },
      ...rest,
    },
    security,
  ],
  [
    "version 1",
    {
      version: 1,
      agents: { defaults: { ...defaults, model_name: "gpt" } },
      channels: { ...flatChannels, mqtt: flatMqtt },
      model_list: models,
      gateway: { host: "127.0.0.1", port: 18790, log_level: "fatal" },
      ...rest,
    },
    security,
  ],
  [
    "version 2",
    {
      version: 2,
      agents: { defaults: { ...defaults, model_name: "gpt" } },
      channels: { ...flatChannels, mqtt: flatMqtt },
      model_list: models,
      gateway: { host: "127.0.0.1", port: 18790, hot_reload: true, log_level: "warn" },
      ...rest,
    },
    security,
  ],
  [
    "version 3",
    {
      version: 3,
      agents: { defaults: { ...defaults, model_name: "gpt" }, list: [], dispatch: { rules: [] } },
      channel_list: {
        telegram: {
          enabled: false,
          type: "telegram",
          allow_from: [],
          settings: { token: "[NOT_HERE]" },
        },
        pico: { enabled: true, type: "pico", settings: { ping_interval: 30 } },
        teams: { enabled: false, type: "teams_webhook", settings: { webhooks: {} } },
        mqtt: {
          enabled: true,
          type: "mqtt",
          allow_from: [12345, "phone"],
          reasoning_channel_id: "",
          group_trigger: {},
          typing: {},
          placeholder: { enabled: false },
          settings: {
            broker: "ssl://broker.lan:8883",
            agent_id: "kitchen",
            username: "[NOT_HERE]",
            password: "[NOT_HERE]",
            keep_alive: 30,
            qos: 1,
          },
        },
      },
      model_list: models.map((model) => Object.assign({ api_keys: ["[NOT_HERE]"] }, model)),
      gateway: { host: "127.0.0.1", port: 18790, hot_reload: false, log_level: "warn" },
      ...rest,
    },
    nestedSecurity,
  ],
];
