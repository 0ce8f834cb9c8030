import { at } from "../../base/unknown.ts";

/** How a lamp writes a colour: numbers with commas, `#rrggbb`, or an object of a JSON payload. */
export type ColourForm = "rgb list" | "hs list" | "xy list" | "hex" | "rgb" | "hs" | "xy";

type Rgb = readonly [red: number, green: number, blue: number];

/** A colour that a lamp reports, as `#rrggbb`; undefined if it is none. */
export function hexOf(form: ColourForm, value: unknown): string | undefined {
  if (typeof value !== "string") return objectHex(value);
  const hex = /^#?([0-9a-f]{6})/i.exec(value)?.[1];
  const numbers = value.split(",").map(Number);
  if (numbers.length < 2) return hex === undefined ? undefined : `#${hex.toLowerCase()}`;
  const [one = Number.NaN, two = Number.NaN, three = Number.NaN] = numbers;
  if (form === "hs list") return hexText(fromHs(one, two));
  return hexText(form === "xy list" ? fromXy(one, two) : [one, two, three]);
}

/** Lamps that have a colour in several forms report all of them, the nearest to what was set first. */
function objectHex(value: unknown): string | undefined {
  const number = (...keys: readonly string[]): number => {
    const found = keys.map((key) => at(value, key)).find((one) => typeof one === "number");
    return typeof found === "number" ? found : Number.NaN;
  };
  const [hue, saturation] = [number("h", "hue"), number("s", "saturation")];
  return (
    hexText([number("r"), number("g"), number("b")]) ??
    hexText(fromHs(hue, saturation)) ??
    hexText(fromXy(number("x"), number("y")))
  );
}

function hexText(rgb: Rgb): string | undefined {
  if (!rgb.every((one) => one >= 0 && one <= 255)) return undefined;
  return `#${rgb.map((one) => Math.round(one).toString(16).padStart(2, "0")).join("")}`;
}

/** What is sent for `#rrggbb`: a text, or an object of a JSON payload. */
export function colourValue(form: ColourForm, hex: string): string | object {
  const rgb = rgbOf(hex);
  const [r, g, b] = rgb;
  const { h, s } = toHs(rgb);
  const { x, y } = toXy(rgb);
  const values = {
    "rgb list": rgb.join(","),
    "hs list": `${h},${s}`,
    "xy list": `${x},${y}`,
    hex,
    rgb: { r, g, b },
    hs: { h, s },
    xy: { x, y },
  };
  return values[form];
}

function rgbOf(hex: string): Rgb {
  const [r = 0, g = 0, b = 0] = [1, 3, 5].map((start) =>
    Number.parseInt(hex.slice(start, start + 2), 16),
  );
  return [r, g, b];
}

/** What `#rrggbb` is made of, by the names that templates have for it. */
export function channelsOf(hex: string): Readonly<Record<string, number>> {
  const rgb = rgbOf(hex);
  const [red, green, blue] = rgb;
  const { h: hue, s: sat } = toHs(rgb);
  return { red, green, blue, hue, sat, ...toXy(rgb) };
}

function toHs([r, g, b]: Rgb): { h: number; s: number } {
  const [most, least] = [Math.max(r, g, b), Math.min(r, g, b)];
  const spread = most - least;
  if (spread === 0) return { h: 0, s: 0 };
  const hue =
    most === r ? (g - b) / spread : most === g ? (b - r) / spread + 2 : (r - g) / spread + 4;
  return { h: Math.round((hue * 60 + 360) % 360), s: Math.round((spread / most) * 100) };
}

function fromHs(hue: number, saturation: number): Rgb {
  const channel = (offset: number): number => {
    const place = (offset + hue / 60) % 6;
    const share = Math.max(0, Math.min(place, 4 - place, 1));
    return 255 * (1 - (saturation / 100) * share);
  };
  return [channel(5), channel(3), channel(1)];
}

/** CIE 1931 of sRGB, with its white point D65. */
function toXy(rgb: Rgb): { x: number; y: number } {
  const [r = 0, g = 0, b = 0] = rgb.map((one) => {
    const share = one / 255;
    return share > 0.040_45 ? ((share + 0.055) / 1.055) ** 2.4 : share / 12.92;
  });
  const x = 0.412_4 * r + 0.357_6 * g + 0.180_5 * b;
  const y = 0.212_6 * r + 0.715_2 * g + 0.072_2 * b;
  const z = 0.019_3 * r + 0.119_2 * g + 0.950_5 * b;
  const sum = x + y + z;
  if (sum === 0) return { x: 0.312_7, y: 0.329 };
  return { x: Number((x / sum).toFixed(4)), y: Number((y / sum).toFixed(4)) };
}

/** At full brightness, which is a value of a lamp by itself. */
function fromXy(x: number, y: number): Rgb {
  if (!(x >= 0 && x <= 1 && y > 0 && y <= 1)) return [Number.NaN, Number.NaN, Number.NaN];
  const [wide, deep] = [x / y, (1 - x - y) / y];
  const linear = [
    3.240_6 * wide - 1.537_2 - 0.498_6 * deep,
    -0.968_9 * wide + 1.875_8 + 0.041_5 * deep,
    0.055_7 * wide - 0.204 + 1.057 * deep,
  ].map((one) => Math.max(0, one));
  const most = Math.max(...linear);
  const [r = 0, g = 0, b = 0] = linear.map((one) => {
    const share = one / most;
    return 255 * (share > 0.003_130_8 ? 1.055 * share ** (1 / 2.4) - 0.055 : share * 12.92);
  });
  return [r, g, b];
}
