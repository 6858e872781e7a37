// Pictures on canvases, curves as SVG.

import { pictureSize } from "./rows.js";

const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes and children; text is text, never markup. */
export function make(tag, attributes = {}, ...children) {
  const isSvg = ["svg", "path", "line", "circle", "text", "rect", "title", "g"].includes(tag);
  const element = isSvg ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** A row of a picture model on a canvas; values lie from `low` to `high`. */
export function pictureCanvas(row, input, { low = 0, high = 255 } = {}) {
  const [height, width, channels] = pictureSize(input);
  const canvas = make("canvas", { width, height });
  const image = new ImageData(width, height);
  for (let pixel = 0; pixel < height * width; pixel++) {
    for (let c = 0; c < 3; c++) {
      const channel = channels === 1 ? 0 : c;
      const place = input.layout === "nchw" ? channel * height * width + pixel : pixel * channels + channel;
      image.data[4 * pixel + c] = ((row[place] - low) / (high - low || 1)) * 255;
    }
    image.data[4 * pixel + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

/** What each pixel adds to the score: transparent where it adds little, then yellow to red at `largest` and above. */
export function mapCanvas(row, input, largest) {
  const [height, width] = pictureSize(input);
  const canvas = make("canvas", { width, height, class: "map" });
  const image = new ImageData(width, height);
  perPixel(row, input).forEach((value, pixel) => {
    const heat = Math.min(1, Math.max(0, value / (largest || 1)));
    const alpha = heat < 0.1 ? 0 : Math.round(230 * Math.min(1, 0.25 + heat));
    image.data.set([255, Math.round(205 * (1 - heat)), Math.round(40 * (1 - heat)), alpha], 4 * pixel);
  });
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

/** A map with its channels added up. */
export function perPixel(row, input) {
  const [height, width, channels] = pictureSize(input);
  return Float32Array.from({ length: height * width }, (_, pixel) => {
    let sum = 0;
    for (let c = 0; c < channels; c++) sum += row[input.layout === "nchw" ? c * height * width + pixel : pixel * channels + c];
    return sum;
  });
}

/** Points of a curve as an SVG path that breaks where a value is not finite. */
function path(values, x, y) {
  let isDown = false;
  return Array.from(values, (value, i) => {
    if (!Number.isFinite(value)) {
      isDown = false;
      return "";
    }
    const command = isDown ? "L" : "M";
    isDown = true;
    return `${command}${x(i).toFixed(1)} ${y(value).toFixed(1)}`;
  }).join("");
}

/** Scores of rows in their order, with the threshold; what lies above it is marked. `chosen` is called with a row. */
export function scoreChart(scores, threshold, chosen) {
  const isNarrow = innerWidth < 600;
  const [width, height, left, bottom, top] = isNarrow ? [380, 220, 48, 22, 12] : [900, 260, 56, 24, 12];
  const finite = Array.from(scores).filter(Number.isFinite);
  const bounds = [...finite, ...(threshold === null ? [] : [threshold])];
  const lowest = bounds.reduce((a, b) => Math.min(a, b), Infinity);
  const highest = bounds.reduce((a, b) => Math.max(a, b), -Infinity);
  // Scores of faults may be a thousand times those of normal rows: a logarithmic axis shows both.
  const isLog = lowest > 0 && highest / lowest > 50;
  const scale = isLog ? Math.log : (v) => v;
  const [low, high] = [scale(lowest), scale(highest)];
  const x = (i) => left + ((width - left - 10) * i) / Math.max(1, scores.length - 1);
  const y = (v) => top + (height - top - bottom) * (1 - (scale(v) - low) / (high - low || 1));
  const chart = make("svg", { viewBox: `0 0 ${width} ${height}`, class: "chart", role: "img", "aria-label": "scores" });
  for (const share of [0, 0.5, 1]) {
    const at = low + (high - low) * share;
    const value = isLog ? Math.exp(at) : at;
    chart.append(
      make("line", { x1: left, x2: width - 10, y1: y(value), y2: y(value), class: "grid" }),
      make("text", { x: left - 8, y: y(value) + 4, "text-anchor": "end" }, shortNumber(value)),
    );
  }
  chart.append(make("path", { d: path(scores, x, y), class: "curve" }));
  if (threshold !== null) {
    chart.append(
      make("line", { x1: left, x2: width - 10, y1: y(threshold), y2: y(threshold), class: "threshold" }),
      make("text", { x: width - 12, y: y(threshold) - 6, "text-anchor": "end", class: "threshold" }, "threshold"),
    );
  }
  scores.forEach((score, i) => {
    if (threshold === null || !(score > threshold)) return;
    const mark = make("circle", { cx: x(i), cy: y(score), r: 4, class: "anomaly", onclick: () => chosen(i) });
    mark.append(make("title", {}, `row ${i}: ${shortNumber(score)}`));
    chart.append(mark);
  });
  chart.append(make("text", { x: left, y: height - 6 }, "first row"));
  chart.append(make("text", { x: width - 10, y: height - 6, "text-anchor": "end" }, `row ${scores.length - 1}`));
  return chart;
}

/** A row or window as curves, one per feature; bars for a single row. */
export function rowChart(row, { layout, shape }, label) {
  const [width, height] = [220, 110];
  const features = shape[shape.length - 1];
  const steps = layout === "time_features" ? shape[0] : 1;
  const chart = make("svg", { viewBox: `0 0 ${width} ${height}`, class: "row-chart", role: "img", "aria-label": label });
  const low = row.reduce((a, b) => Math.min(a, b), Infinity);
  const high = row.reduce((a, b) => Math.max(a, b), -Infinity);
  const y = (v) => 6 + (height - 12) * (1 - (v - low) / (high - low || 1));
  for (let feature = 0; feature < features; feature++) {
    const hue = Math.round((feature * 360) / features + 205) % 360;
    if (steps === 1) {
      const zero = y(Math.min(Math.max(0, low), high));
      const x = (width * (feature + 0.15)) / features;
      const [from, to] = [Math.min(zero, y(row[feature])), Math.max(zero, y(row[feature]))];
      chart.append(make("rect", { x, y: from, width: (width * 0.7) / features, height: Math.max(1, to - from), fill: `hsl(${hue} 55% 52%)` }));
    } else {
      const values = Array.from({ length: steps }, (_, step) => row[step * features + feature]);
      const d = path(values, (i) => (width * i) / (steps - 1 || 1), y);
      chart.append(make("path", { d, fill: "none", stroke: `hsl(${hue} 55% 48%)`, "stroke-width": 1.6 }));
    }
  }
  return chart;
}

export function shortNumber(value) {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 0.001 || size >= 1e6)) return value.toExponential(2);
  return String(Number(value.toPrecision(4)));
}
