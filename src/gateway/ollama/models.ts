import { createHash } from "node:crypto";

/** The one model that there is: the agent. */
export interface AgentModel {
  /** With its tag, such as `kitchen:latest`. */
  readonly name: string;
  /** When the gateway started. */
  readonly since: Date;
}

/** The version of Ollama's API that is spoken here; clients compare it. */
export const API_VERSION = "0.9.0";
const TAG = ":latest";
const DETAILS = {
  parent_model: "",
  format: "agent",
  family: "picoclaw",
  families: ["picoclaw"],
  parameter_size: "",
  quantization_level: "",
};

/** Names of models have no blanks and no further colons. */
export function modelOf(agentId: string, since: Date): AgentModel {
  return { name: `${agentId.replaceAll(/[\s:]/g, "-")}${TAG}`, since };
}

export function isModel({ name }: AgentModel, asked: string): boolean {
  return asked === name || `${asked}${TAG}` === name;
}

/** What `GET /api/tags` answers. */
export function tagsOf({ name, since }: AgentModel): object {
  const digest = createHash("sha256").update(name).digest("hex");
  const model = { name, model: name, modified_at: since.toISOString(), size: 0, digest };
  return { models: [{ ...model, details: DETAILS }] };
}

/** What `POST /api/show` answers. Without `tools`: those of the client would not be called. */
export function showOf({ since }: AgentModel): object {
  return {
    license: "",
    modelfile: "",
    parameters: "",
    template: "",
    details: DETAILS,
    model_info: { "general.architecture": "picoclaw" },
    capabilities: ["completion", "vision"],
    modified_at: since.toISOString(),
  };
}
