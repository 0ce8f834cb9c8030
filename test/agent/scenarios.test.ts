import assert from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { openScenarioRun, openPages } from "./scenario-run.ts";
import type { ScenarioRun } from "./scenario-run.ts";
import { assertFiles, writeFiles, readScenario } from "./scenario.ts";
import type { Scenario } from "./scenario.ts";

const folder = join(import.meta.dirname, "scenarios");
const files = (await readdir(folder)).filter((file) => file.endsWith(".yaml")).toSorted();

describe("a device's day", () => {
  it("has at least twenty scenarios", () => assert.ok(files.length >= 20, String(files.length)));

  for (const file of files) {
    it(file.replace(/^\d+-|\.yaml$/g, "").replaceAll("-", " "), async () => {
      const path = join(folder, file);
      const { web } = await readScenario(path, "http://127.0.0.1");
      await using pages = await openPages(web);
      const scenario = await readScenario(path, pages.base);
      await using run = await openScenarioRun(scenario);
      for (const step of scenario.day) await live(step, run);
    });
  }
});

async function live(step: Scenario["day"][number], run: ScenarioRun): Promise<void> {
  if ("asks" in step) await run.ask(step);
  else if ("restart" in step) await run.restart();
  else if ("writes" in step) await writeFiles(run.workspace, step.writes);
  else await assertFiles(step.finds, run.workspace);
}
