import { listed } from "../../base/truncate.ts";
import type { Device, ReadFact } from "./contract.ts";
import { cleanName, namesIn, readNumberIfAny, readTextIfAny } from "./files.ts";

interface Reading {
  readonly sensor: string;
  /** Degrees Celsius. */
  readonly degrees: number;
}

const MAX_READINGS = 6;
/** Names of sensors of the processor, which come first. */
const PROCESSOR = /cpu|soc|package|core|k10temp|zenpower|x86_pkg|tctl/i;

/** The temperatures of all sensors, the processor's first. */
export const readTemperature: ReadFact = async (device) => {
  const readings = await readingsOf(device);
  if (readings.length === 0) return "This device has no temperature sensor that can be read.";
  const texts = readings.map(({ sensor, degrees }) => `${degrees.toFixed(1)} °C (${sensor})`);
  return `Temperature is ${listed(texts, MAX_READINGS)}.`;
};

/** Degrees Celsius of the most important sensor; undefined if there is none. */
export async function mainTemperature(device: Device): Promise<number | undefined> {
  return (await readingsOf(device))[0]?.degrees;
}

async function readingsOf(device: Device): Promise<Reading[]> {
  const all = [...(await thermalZones(device)), ...(await hardwareMonitors(device))];
  const byName = new Map<string, Reading>();
  for (const reading of all) {
    // Each thermal zone appears among the monitors again, with another spelling of its name.
    const name = reading.sensor.toLowerCase().replaceAll(/[^a-z0-9]/g, "");
    if (!byName.has(name)) byName.set(name, reading);
  }
  return [...byName.values()].toSorted(byImportance);
}

function byImportance(left: Reading, right: Reading): number {
  const first = Number(PROCESSOR.test(right.sensor)) - Number(PROCESSOR.test(left.sensor));
  return first === 0 ? right.degrees - left.degrees : first;
}

async function thermalZones(device: Device): Promise<Reading[]> {
  const folder = "sys/class/thermal";
  const zones = (await namesIn(device, folder)).filter((name) => name.startsWith("thermal_zone"));
  const readings = zones.map((zone) =>
    readingOf(device, `${folder}/${zone}/temp`, [`${folder}/${zone}/type`]),
  );
  return (await Promise.all(readings)).filter((reading) => reading !== undefined);
}

async function hardwareMonitors(device: Device): Promise<Reading[]> {
  const folder = "sys/class/hwmon";
  const monitors = await namesIn(device, folder);
  const lists = monitors.map(async (monitor) => {
    const path = `${folder}/${monitor}`;
    const inputs = (await namesIn(device, path)).filter((name) => /^temp\d+_input$/.test(name));
    return await Promise.all(
      inputs.map((input) => {
        const label = `${path}/${input.replace("_input", "_label")}`;
        return readingOf(device, `${path}/${input}`, [`${path}/name`, label]);
      }),
    );
  });
  return (await Promise.all(lists)).flat().filter((reading) => reading !== undefined);
}

/** Reads millidegrees (kernel documentation, hwmon and thermal sysfs). A sensor that is off has no or an absurd value. */
async function readingOf(
  device: Device,
  path: string,
  names: readonly string[],
): Promise<Reading | undefined> {
  const millidegrees = await readNumberIfAny(device, path);
  if (millidegrees === undefined) return undefined;
  const degrees = millidegrees / 1000;
  if (degrees <= -55 || degrees >= 250 || degrees === 0) return undefined;
  const words = await Promise.all(names.map((name) => readTextIfAny(device, name, 256)));
  const sensor = cleanName(words.map((word) => word?.trim() ?? "").join(" "));
  return { sensor: sensor === "" ? "unnamed sensor" : sensor, degrees };
}
