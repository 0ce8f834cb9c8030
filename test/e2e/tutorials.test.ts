import { existsSync } from "node:fs";
import { describe, it } from "node:test";
import { answers, calls, startModelServer } from "../support/model-server.ts";
import { freePort, needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import { onceInCi, quickConfig } from "../support/picoclaw.ts";
import { assertRuns, AWAIT_GATEWAY, commandsIn } from "../support/tutorial.ts";

const isMissing = !existsSync("/usr/bin/python3") && !process.env["CI"];
const once = { skip: needsMosquitto.skip || onceInCi.skip || isMissing };

/** Debian's mosquitto as its package leaves it, started in place of its service. */
const MOSQUITTO = String.raw`
mkdir -p '{folder}/etc/conf.d'
printf '%s\n' 'user root' 'persistence true' 'persistence_location {folder}/' 'include_dir {folder}/etc/conf.d' > '{folder}/etc/mosquitto.conf'
sudo() { "$@"; }
systemctl() {
  mosquitto -c '{folder}/etc/mosquitto.conf' >mosquitto.log 2>&1 &
  for _ in $(seq 200); do grep -qs running mosquitto.log && break; sleep 0.05; done
}
`;

/** What the Go program keeps beside its configuration. */
const KEY = `echo 'model_list: { main: { api_keys: ["sk-tutorial"] } }' > ~/.picoclaw/.security.yml`;

/** A gateway without a model at that broker. */
const gatewayAt = (broker: string): string => `
mkdir -p "$HOME/.picoclaw"
echo '${JSON.stringify(quickConfig(broker))}' > "$HOME/.picoclaw/config.json"
picoclaw gateway 2>gateway.log &
${AWAIT_GATEWAY}
`;

describe("the tutorial", () => {
  it("about mosquitto ends with a device that is let in, and one that is not", once, async () => {
    await assertRuns(await commandsIn("mosquitto.md"), {
      before: MOSQUITTO,
      replaced: [
        ["8883", `${await freePort()}`],
        ["broker.lan", "localhost"],
        ["/etc/mosquitto", "{folder}/etc"],
        ["-o mosquitto ", ""],
        ["python3 ", "/usr/bin/python3 "],
      ],
    });
  });

  it("about programs that ask shows what these print", once, async () => {
    await using broker = await startMosquitto();
    await assertRuns(await commandsIn("clients.md"), {
      before: gatewayAt(broker.url),
      replaced: [
        ["--host broker.lan", `--host 127.0.0.1 --port ${broker.port}`],
        ['host="broker.lan"', `host="127.0.0.1", port=${broker.port}`],
        ["mqtt://broker.lan", broker.url.replace("tcp:", "mqtt:")],
        ["python3 ", "/usr/bin/python3 "],
      ],
    });
  });

  it("about a Raspberry Pi ends with a gateway that serves", once, async () => {
    await using broker = await startMosquitto();
    await assertRuns(await commandsIn("raspberry-pi.md"), {
      replaced: [
        ["onboard --yes", "onboard --yes --broker tcp://localhost:1883 --model offline"],
        ["picoclaw service install", "picoclaw gateway 2>gateway.log &"],
        ["mosquitto_sub ", "mosquitto_sub -p 1883 "],
        ["1883", `${broker.port}`],
      ],
    });
  });

  it("about Ollama ends with an answer of its model", once, async () => {
    await using broker = await startMosquitto();
    await using model = await startModelServer();
    model.otherwise((request, response) => {
      const [tool, ...others] = request.body.tools ?? [];
      const isCheck = tool !== undefined && others.length === 0;
      const behaviour = isCheck
        ? calls({ name: tool.function.name, arguments: "{}" })
        : answers("Hello!");
      return behaviour(request, response);
    });
    await assertRuns(await commandsIn("ollama.md"), {
      replaced: [
        ["onboard --yes", `onboard --yes --broker ${broker.url}`],
        ["http://gpu.lan:11434/v1", model.base],
      ],
    });
  });

  it("about two hundred devices holds one to its limits", once, async () => {
    await using broker = await startMosquitto();
    await using model = await startModelServer();
    model.otherwise(answers("21 degrees."));
    await assertRuns(await commandsIn("many-devices.md"), {
      before: "echo sk-tutorial > openai.key",
      replaced: [
        ["1883", `${broker.port}`],
        ['gpt-5.4-mini"', `gpt-5.4-mini", "api_base": "${model.base}"`],
      ],
    });
  });

  it("about moving from the Go program shows what is found in its home", once, async () => {
    const shown = await commandsIn("from-go.md");
    const home = shown[0]?.output ?? "";
    await assertRuns(shown, {
      before: `mkdir -p ~/.picoclaw; cat > ~/.picoclaw/config.json <<'END'\n${home}END\n${KEY}`,
    });
  });
});
