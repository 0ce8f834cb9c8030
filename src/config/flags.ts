/**
 * The flags of the command line that set a key of every channel. It is data alone, since help and
 * completion read it, too.
 */
export const CONFIG_FLAGS = {
  broker: {
    type: "string",
    value: "URL",
    summary:
      "the MQTT broker: tcp, mqtt, ssl, tls, mqtts, ws, wss or unix URL, or embedded; several with commas",
  },
  agent: { type: "string", value: "ID", summary: "the agent id in the topics" },
  prefix: { type: "string", value: "PREFIX", summary: "the topic prefix" },
  user: { type: "string", value: "NAME", summary: "the user name at the broker" },
  "password-file": {
    type: "file",
    value: "FILE",
    summary: "a file that holds the password at the broker",
  },
  cafile: { type: "file", value: "FILE", summary: "certificates to verify the broker with (PEM)" },
  cert: { type: "file", value: "FILE", summary: "our certificate for the broker (PEM)" },
  key: { type: "file", value: "FILE", summary: "the key of --cert (PEM)" },
  insecure: { type: "boolean", summary: "do not verify the broker's certificate" },
  mqtt: {
    type: "choice",
    value: "VERSION",
    choices: ["auto", "5", "4"],
    summary: "the protocol: auto tries 5, then 4 (MQTT 3.1.1)",
  },
} as const;

export type ConfigFlag = keyof typeof CONFIG_FLAGS;
