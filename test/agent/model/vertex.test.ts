import assert from "node:assert/strict";
import { createVerify, generateKeyPairSync } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, afterEach, before, describe, it } from "node:test";
import type { Fetch } from "../../../src/agent/model/contract.ts";
import { endpointOf } from "../../../src/agent/model/endpoint.ts";
import { Failure } from "../../../src/base/failure.ts";
import { at } from "../../../src/base/unknown.ts";
import { collect, modelEntry, modelFailureOf, questionOf } from "../../support/agent-config.ts";
import { VERTEX } from "../../support/gemini-server.ts";
import { openModel } from "../../support/model.ts";
import { temporaryFolder } from "../../support/temporary.ts";

const VARIABLES = ["GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_API_KEY"].concat([
  "GOOGLE_CLOUD_PROJECT",
  "GOOGLE_CLOUD_LOCATION",
]);
const saved = VARIABLES.map((name) => [name, process.env[name]] as const);

function setVariables(values: Readonly<Record<string, string>> = {}): void {
  for (const name of VARIABLES) delete process.env[name];
  Object.assign(process.env, values);
}

afterEach(() => {
  setVariables();
  for (const [name, value] of saved) if (value !== undefined) process.env[name] = value;
});

function found(api_base: string, api_keys: string[], variables: Record<string, string> = {}) {
  setVariables(variables);
  return endpointOf(modelEntry({ model: "vertex/gemini-x", api_base, api_keys }));
}

const EXPRESS = "https://aiplatform.googleapis.com/v1/publishers/google";

function placeAt(host: string, project: string, location: string): string {
  return `https://${host}/v1/projects/${project}/locations/${location}/publishers/google`;
}

describe("the endpoint of Vertex AI", () => {
  it("with an API key is that of express mode", () => {
    assert.equal(found("", ["k"]).base, EXPRESS);
    const byVariable = found("", [], { GOOGLE_API_KEY: "key", GOOGLE_CLOUD_PROJECT: "p" });
    assert.deepEqual([byVariable.base, byVariable.keys], [EXPRESS, ["key"]]);
  });

  it("is in the project and the location of api_base, or of the environment", () => {
    const host = "europe-west4-aiplatform.googleapis.com";
    assert.equal(found("p/europe-west4", ["k"]).base, placeAt(host, "p", "europe-west4"));
    assert.equal(
      found("europe-west4", ["k"], { GOOGLE_CLOUD_PROJECT: "p" }).base,
      placeAt(host, "p", "europe-west4"),
    );
    assert.equal(
      found("p/global", ["k"]).base,
      placeAt("aiplatform.googleapis.com", "p", "global"),
    );
    assert.equal(found("https://own/v1", ["k"]).protocol, "openai");
  });

  it("with a service account takes the project of its file", () => {
    const variables = {
      GOOGLE_APPLICATION_CREDENTIALS: "/a.json",
      GOOGLE_CLOUD_LOCATION: "europe-west4",
    };
    const { base, keys } = found("", [], variables);
    assert.equal(base, placeAt("europe-west4-aiplatform.googleapis.com", "-", "europe-west4"));
    assert.deepEqual(keys, ["/a.json"]);
  });

  it("without a project or a key is a failure that says what to set", () => {
    for (const [api_base, keys, remedy] of [
      ["europe-west4", ["k"], /project\/location/],
      ["", [], /GOOGLE_APPLICATION_CREDENTIALS/],
    ] as const) {
      assert.throws(
        () => found(api_base, [...keys]),
        (thrown) => thrown instanceof Failure && remedy.test(thrown.remedy ?? ""),
      );
    }
  });
});

/** Google: the token endpoint, and the models; `lifetime` is in seconds. */
function google(lifetime = 3600, tokenStatus = 200) {
  const asked: { readonly url: string; readonly headers: Headers; readonly body: string }[] = [];
  const fetch: Fetch = async (url, init) => {
    const body = typeof init.body === "string" ? init.body : "";
    asked.push({ url, headers: new Headers(init.headers), body });
    if (!url.startsWith("https://oauth2.")) {
      return new Response(VERTEX.events({ text: "hello" }).join(""));
    }
    const token = { access_token: `ya29.${asked.length}`, expires_in: lifetime };
    const refusal = { error: "invalid_grant", error_description: "Invalid JWT Signature." };
    return Response.json(tokenStatus === 200 ? token : refusal, { status: tokenStatus });
  };
  return { asked, fetch };
}

describe("a service account of Google", () => {
  const { publicKey, privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  let folder: Awaited<ReturnType<typeof temporaryFolder>>;
  let path: string;
  before(async () => {
    folder = await temporaryFolder();
    path = await written("account.json", {});
  });
  after(() => folder[Symbol.asyncDispose]());

  async function written(name: string, changes: object): Promise<string> {
    const account = {
      type: "service_account",
      project_id: "the-project",
      private_key_id: "kid1",
      private_key: privateKey.export({ type: "pkcs8", format: "pem" }),
      client_email: "agent@the-project.iam.gserviceaccount.com",
      token_uri: "https://oauth2.googleapis.com/token",
      ...changes,
    };
    const file = join(folder.path, name);
    await writeFile(file, JSON.stringify(account));
    return file;
  }

  function modelOf(fetch: Fetch, key = path) {
    const entry = { model: "vertex/gemini-x", api_base: "global", api_keys: [key] };
    return openModel({ entry, fetch, defaults: { max_llm_retries: 0 } });
  }

  it("signs an assertion for a token, and uses that until it ends", async () => {
    const { asked, fetch } = google();
    const model = modelOf(fetch);
    for (let times = 0; times < 2; times += 1) {
      assert.equal((await collect(model(questionOf()))).text, "hello");
    }
    const base = placeAt("aiplatform.googleapis.com", "the-project", "global");
    const url = `${base}/models/gemini-x:streamGenerateContent?alt=sse`;
    assert.deepEqual(
      asked.map((request) => request.url),
      ["https://oauth2.googleapis.com/token", url, url],
    );
    const form = new URLSearchParams(asked[0]?.body);
    assert.equal(form.get("grant_type"), "urn:ietf:params:oauth:grant-type:jwt-bearer");
    const [head = "", claims = "", signature = ""] = (form.get("assertion") ?? "").split(".");
    const verifier = createVerify("RSA-SHA256").update(`${head}.${claims}`);
    assert.ok(verifier.verify(publicKey, signature, "base64url"));
    const said: unknown = JSON.parse(Buffer.from(claims, "base64url").toString());
    assert.equal(at(said, "iss"), "agent@the-project.iam.gserviceaccount.com");
    assert.equal(at(said, "aud"), "https://oauth2.googleapis.com/token");
    assert.equal(Number(at(said, "exp")) - Number(at(said, "iat")), 3600);
    for (const { headers } of asked.slice(1)) {
      assert.equal(headers.get("authorization"), "Bearer ya29.1");
      assert.equal(headers.get("x-goog-api-key"), null);
    }
  });

  it("requests another token when the first one ends", async () => {
    const { asked, fetch } = google(30);
    const model = modelOf(fetch);
    for (let times = 0; times < 2; times += 1) await collect(model(questionOf()));
    const tokens = asked.map(({ headers }) => headers.get("authorization"));
    assert.deepEqual(tokens, [null, "Bearer ya29.1", null, "Bearer ya29.3"]);
  });

  it("that Google refuses, or whose file is wrong, is a refused key with the reason", async () => {
    const noAccount = await written("user.json", { type: "authorized_user" });
    const noKey = await written("no-key.json", { private_key: "none" });
    const wrong: [key: string, status: number, why: RegExp][] = [
      [path, 400, /no access token: HTTP 400: .*invalid_grant/],
      [join(folder.path, "absent.json"), 200, /cannot be read/],
      [noAccount, 200, /not of a service account/],
      [noKey, 200, /private key of the service account is invalid/],
    ];
    for (const [key, status, reason] of wrong) {
      const { fetch } = google(3600, status);
      const { message, why = "" } = await modelFailureOf(
        collect(modelOf(fetch, key)(questionOf())),
      );
      assert.match(message, /refused this agent's key/);
      assert.match(why, reason);
    }
  });
});
