import { at, isObject, textAt } from "../../../base/unknown.ts";

/** Values of one device, and characters of a key. */
const MAX_VALUES = 128;
const KEY = /^[^"'\\{}%]{1,32}$/;

/** Units, and what Home Assistant calls the kind of a value, by Tasmota's name. */
const QUANTITIES: Readonly<Record<string, readonly [unit: string, deviceClass?: string]>> = {
  ApparentPower: ["VA", "apparent_power"],
  Battery: ["%", "battery"],
  BatteryPercentage: ["%", "battery"],
  CarbonDioxide: ["ppm", "carbon_dioxide"],
  Current: ["A", "current"],
  Distance: ["cm", "distance"],
  ExportActive: ["kWh", "energy"],
  Factor: ["", "power_factor"],
  Frequency: ["Hz", "frequency"],
  Humidity: ["%", "humidity"],
  Illuminance: ["lx", "illuminance"],
  ImportActive: ["kWh", "energy"],
  Moisture: ["%", "moisture"],
  Power: ["W", "power"],
  PM1: ["µg/m³", "pm1"],
  "PM2.5": ["µg/m³", "pm25"],
  PM10: ["µg/m³", "pm10"],
  ReactivePower: ["VAr", "reactive_power"],
  Today: ["kWh", "energy"],
  Total: ["kWh", "energy"],
  TVOC: ["ppb", "volatile_organic_compounds_parts"],
  Voltage: ["V", "voltage"],
  Weight: ["kg", "weight"],
  Yesterday: ["kWh", "energy"],
  eCO2: ["ppm", "carbon_dioxide"],
};

/** Values whose unit the device tells, by the key that does. */
const UNIT_KEYS: Readonly<Record<string, readonly [key: string, deviceClass: string]>> = {
  Temperature: ["TempUnit", "temperature"],
  DewPoint: ["TempUnit", "temperature"],
  Pressure: ["PressureUnit", "pressure"],
  SeaPressure: ["PressureUnit", "pressure"],
  Speed: ["SpeedUnit", "speed"],
};

/** Each value that a device measures: a key, and how Home Assistant would have it announced. */
export function tasmotaSensors(sensors: unknown): readonly (readonly [string, object])[] {
  if (!isObject(sensors)) return [];
  const paths = Object.entries(sensors).flatMap(([name, value]) =>
    isObject(value) ? pathsIn(value, [name]) : [],
  );
  return paths.slice(0, MAX_VALUES).map((path) => [path.join("_"), sensorOf(sensors, path)]);
}

/** To the values of an object: a name, a name in a group, or a place in a list. */
function pathsIn(
  value: Readonly<Record<string, unknown>>,
  before: readonly (string | number)[],
): readonly (readonly (string | number)[])[] {
  return Object.entries(value).flatMap(([name, one]) => {
    const path = [...before, name];
    if (!path.every((part) => KEY.test(String(part)))) return [];
    if (Array.isArray(one)) return one.map((_item, index) => [...path, index]);
    if (isObject(one)) return path.length < 4 ? pathsIn(one, path) : [];
    return [path];
  });
}

function sensorOf(sensors: object, path: readonly (string | number)[]): object {
  const steps = path.map((part) => (typeof part === "number" ? `[${part}]` : `['${part}']`));
  const quantity = path.findLast((part) => typeof part === "string") ?? "";
  const unitKey = at(UNIT_KEYS, quantity);
  const known = at(QUANTITIES, quantity);
  const [unit, deviceClass] = Array.isArray(unitKey)
    ? [unitText(textAt(sensors, String(unitKey[0]))), unitKey[1]]
    : [at(known, 0), at(known, 1)];
  return {
    name: path.map((part) => (typeof part === "number" ? part + 1 : part)).join(" "),
    value_template: `{{ value_json${steps.join("")} }}`,
    ...(unit === undefined || unit === "" ? {} : { unit_of_measurement: unit }),
    ...(deviceClass === undefined ? {} : { device_class: deviceClass }),
  };
}

function unitText(unit: string): string {
  return unit === "C" || unit === "F" ? `°${unit}` : unit;
}
