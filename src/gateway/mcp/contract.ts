/** A tool that clients call. */
export interface McpTool {
  readonly name: string;
  readonly description: string;
  /** The JSON schema of its arguments: always of an object. */
  readonly parameters: object;
  /** Its calls change something. */
  readonly exclusive?: true;
}

/** The port to the tools that need no model. */
export interface McpTools {
  /** Those that the client may use. */
  readonly offered: (client: string) => Promise<readonly McpTool[]>;
  readonly call: (call: McpCall) => Promise<McpResult>;
}

export interface McpCall {
  readonly client: string;
  readonly tool: string;
  /** Untrusted. */
  readonly arguments: unknown;
  readonly signal: AbortSignal;
}

export interface McpResult {
  readonly text: string;
  readonly isError: boolean;
}
