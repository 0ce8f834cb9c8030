import { existsSync } from "node:fs";
import { describe, it } from "node:test";
import { freePort, needsMosquitto, startMosquitto } from "../support/mosquitto.ts";
import { onceInCi, quickConfig } from "../support/picoclaw.ts";
import { assertRuns, commandsIn } from "../support/tutorial.ts";

const isMissing = !existsSync("/usr/bin/python3") && !process.env["CI"];
const once = { skip: needsMosquitto.skip || onceInCi.skip || isMissing };

/** Debian's mosquitto as its package leaves it, started in place of its service. */
const MOSQUITTO = String.raw`
mkdir -p '{folder}/etc/conf.d'
printf '%s\n' 'user root' 'persistence true' 'persistence_location {folder}/' 'include_dir {folder}/etc/conf.d' > '{folder}/etc/mosquitto.conf'
sudo() { "$@"; }
systemctl() {
  mosquitto -c '{folder}/etc/mosquitto.conf' >mosquitto.log 2>&1 &
  until grep -q running mosquitto.log; do sleep 0.05; done
}
`;

/** A gateway without a model at that broker. */
const gatewayAt = (broker: string): string => `
mkdir -p "$HOME/.picoclaw"
echo '${JSON.stringify(quickConfig(broker))}' > "$HOME/.picoclaw/config.json"
picoclaw gateway 2>gateway.log &
until picoclaw status --ready >/dev/null 2>&1; do sleep 0.1; done
`;

describe("the tutorial", () => {
  it("about mosquitto ends with a device that is let in, and one that is not", once, async () => {
    await assertRuns(await commandsIn("mosquitto.md"), {
      before: MOSQUITTO,
      replaced: {
        "8883": `${await freePort()}`,
        "broker.lan": "localhost",
        "/etc/mosquitto": "{folder}/etc",
        "-o mosquitto ": "",
        "python3 ": "/usr/bin/python3 ",
      },
    });
  });

  it("about programs that ask shows what these print", once, async () => {
    await using broker = await startMosquitto();
    await assertRuns(await commandsIn("clients.md"), {
      before: gatewayAt(broker.url),
      replaced: {
        "--host broker.lan": `--host 127.0.0.1 --port ${broker.port}`,
        'host="broker.lan"': `host="127.0.0.1", port=${broker.port}`,
        "mqtt://broker.lan": broker.url.replace("tcp:", "mqtt:"),
        "python3 ": "/usr/bin/python3 ",
      },
    });
  });
});
