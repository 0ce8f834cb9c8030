import uPlot from "uplot";
import { lastHour, mean, ms } from "./views.js";

/** The two plots of the first page. They are drawn anew when the theme or the width changes. */
const boxes = ["#requests-plot", "#times-plot"].map((name) => document.querySelector(name));
let drawn = [];
let latest;

export function draw(given) {
  latest = given;
  const minutes = everyMinute(given);
  const data = [requestsData(minutes), timesData(minutes)];
  if (drawn.length === 0) for (const box of boxes) box.replaceChildren();
  if (drawn.length === 0) drawn = [requestsPlot(data[0], boxes[0]), timesPlot(data[1], boxes[1])];
  else drawn.forEach((plot, index) => plot.setData(data[index]));
  boxes[0].setAttribute("aria-label", requestsText(minutes));
  boxes[1].setAttribute("aria-label", timesText(minutes));
}

/** The last hour, also the minutes without a request. */
function everyMinute(minutes) {
  const known = new Map(lastHour(minutes).map((minute) => [Date.parse(minute.at), minute]));
  const now = Math.floor(Date.now() / 60_000) * 60_000;
  return Array.from({ length: 60 }, (_, index) => {
    const at = now - (59 - index) * 60_000;
    return { requests: 0, failed: 0, ...known.get(at), at };
  });
}

function again() {
  for (const plot of drawn) plot.destroy();
  drawn = [];
  if (latest !== undefined) draw(latest);
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
new ResizeObserver(() => {
  for (const [index, plot] of drawn.entries()) {
    const width = boxes[index].clientWidth;
    if (plot.width !== width) plot.setSize({ width, height: HEIGHT });
  }
}).observe(boxes[0]);

const HEIGHT = 150;

const seconds = (minutes) => minutes.map(({ at }) => at / 1000);
const requestsData = (minutes) => [
  seconds(minutes),
  minutes.map(({ requests }) => requests),
  minutes.map(({ failed }) => failed),
];
const timesData = (minutes) => [
  seconds(minutes),
  minutes.map(({ answer_ms }) => answer_ms ?? null),
  minutes.map(({ first_ms }) => first_ms ?? null),
];

const bars = uPlot.paths.bars({ size: [0.8, 14] });
const bar = (label, name) => ({
  label,
  fill: colour(name),
  stroke: colour(name),
  width: 0,
  paths: bars,
  points: { show: false },
});
const line = (label, name, dash) => ({
  label,
  stroke: colour(name),
  width: 1.5,
  dash,
  spanGaps: true,
  points: { show: false, filter: alone, size: 5, fill: colour(name) },
});

/** The minutes between empty ones: a line alone does not show the first one after the start. */
function alone(plot, series) {
  const values = plot.data[series];
  const has = (index) => typeof values[index] === "number";
  const isAlone = (index) => has(index) && !has(index - 1) && !has(index + 1);
  return [...values.keys()].filter(isAlone);
}

function requestsPlot(data, box) {
  const scales = { y: { range: (_plot, _min, max) => [0, Math.max(4, max * 1.1)] } };
  const series = [{}, bar("Requests", "--accent"), bar("Failed", "--bad")];
  return new uPlot(options(box, { series, scales, values: (value) => String(value) }), data, box);
}

function timesPlot(data, box) {
  const scales = { y: { range: (_plot, _min, max) => [0, Math.max(100, max * 1.1)] } };
  const series = [{}, line("Answer", "--accent"), line("First part", "--text", [4, 3])];
  return new uPlot(options(box, { series, scales, values: ms }), data, box);
}

function options(box, { series, scales, values }) {
  const axis = {
    stroke: colour("--quiet"),
    font: `11px ${getComputedStyle(document.body).fontFamily}`,
    grid: { stroke: colour("--line"), width: 1 },
    ticks: { show: false },
  };
  return {
    width: box.clientWidth,
    height: HEIGHT,
    series,
    // Half a minute more at both ends, for the bars.
    scales: { x: { time: true, range: (_plot, min, max) => [min - 30, max + 30] }, ...scales },
    // To the right is room for half a label.
    padding: [8, 16, 0, 0],
    legend: { show: false },
    cursor: { show: false },
    axes: [
      {
        ...axis,
        grid: { show: false },
        space: 60,
        values: (_plot, all) => all.map(clock),
        size: 24,
      },
      {
        ...axis,
        size: 52,
        space: 32,
        incrs: [
          1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 60_000, 120_000,
        ],
        values: (_plot, all) => all.map(values),
      },
    ],
  };
}

function clock(at) {
  const when = new Date(at * 1000);
  return `${String(when.getHours()).padStart(2, "0")}:${String(when.getMinutes()).padStart(2, "0")}`;
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function requestsText(minutes) {
  const most = Math.max(0, ...minutes.map(({ requests }) => requests));
  const last = minutes.at(-1)?.requests ?? 0;
  return `Requests a minute over the last hour: at most ${most}, in this minute ${last}.`;
}

function timesText(minutes) {
  const first = ms(mean(minutes, "first_ms"));
  return `Times over the last hour: ${first} to the first part, ${ms(mean(minutes, "answer_ms"))} to the answer, in the mean.`;
}
