// Run by test_browser.py: the package and the demo page in a headless Chromium.
//
//     node chromium.js ADDRESS CHROMIUM FOLDER [webgpu]
//
// Prints one JSON document: outcomes of the conformance cases, golden checks, and what the page showed.

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { BUNDLES, bundle, CORPUS, flipped, installed } from "./support.js";

const [address, executablePath, folder, engine = "wasm"] = process.argv.slice(2);
const WEBGPU = [
  "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan", "--use-vulkan=swiftshader",
];
const { chromium } = (await installed("playwright-core")).default;
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", ...(engine === "webgpu" ? WEBGPU : [])] });
const problems = [];
mkdirSync(folder, { recursive: true });

async function opened(path, width = 1280) {
  const page = await browser.newPage({ viewport: { width, height: 900 } });
  page.on("pageerror", (error) => problems.push(error.message));
  page.on("console", (message) => {
    const isMissing = path !== "/" && message.text().includes("404"); // the icon of a list of files
    if (message.type() === "error" && !isMissing) problems.push(message.text());
  });
  await page.goto(`${address}${path}`);
  return page;
}

/** Golden vectors of every bundle of the corpus. */
async function golden() {
  const page = await opened("/tests/js/");
  return page.evaluate(
    async ([names, provider]) => {
      const ort = await import(`/node_modules/onnxruntime-web/dist/ort.${provider}.min.mjs`);
      const { verify } = await import("/runtime/js/src/index.js");
      ort.env.wasm.numThreads = 1;
      const session = { executionProviders: [provider] };
      const outcomes = {};
      for (const name of names) {
        try {
          const { ok, checks } = await verify(`/tests/corpus/${name}`, { ort, session });
          outcomes[name] = [ok, Math.max(...checks.map((check) => check.maxRelative))];
        } catch (error) {
          outcomes[name] = [false, error.message];
        }
      }
      return outcomes;
    },
    [BUNDLES, engine],
  );
}

/** The conformance cases. */
async function conformance() {
  const page = await opened("/tests/js/");
  return page.evaluate(async () => {
    const root = "/tests/conformance/";
    const { cases } = await (await fetch(`${root}cases.json`)).json();
    const ort = await import("/node_modules/onnxruntime-web/dist/ort.wasm.min.mjs");
    const { Conformance, outcomes } = await import("/tests/js/conformance.js");
    ort.env.wasm.numThreads = 1;
    const kept = new Map();
    const read = async (path) => {
      if (!kept.has(path)) kept.set(path, new Uint8Array(await (await fetch(root + path)).arrayBuffer()));
      return kept.get(path);
    };
    const outcome = await outcomes(new Conformance(ort, read), cases);
    return { language: "JavaScript, Chromium", engine: `onnxruntime-web ${ort.env.versions.web}`, ...outcome };
  });
}

/** Wait until `holds` is true on the page; the driver's own way to wait is refused by the page's security policy. */
async function until(page, holds, given) {
  for (const end = Date.now() + 60_000; Date.now() < end; await new Promise((resolve) => setTimeout(resolve, 50))) {
    if (await page.evaluate(holds, given)) return;
  }
  throw new Error(`the page never came to ${holds}; it says: ${await page.textContent("main")}`);
}

const text = (page, id) => page.textContent(`#${id}`);
const shown = (page, id) => until(page, (name) => !document.getElementById(name).hidden, id);
const pixels = (page) => page.evaluate(() => [...document.querySelectorAll("#sampled canvas")].map((c) => c.toDataURL()).join());

async function slide(page, id, value) {
  const before = await pixels(page);
  await page.evaluate(([name, to]) => {
    const slider = document.getElementById(name);
    slider.value = to;
    slider.dispatchEvent(new Event("input"));
  }, [id, value]);
  await until(
    page,
    (old) => [...document.querySelectorAll("#sampled canvas")].map((c) => c.toDataURL()).join() !== old,
    before,
  );
}

/** The demo page as a user has it: a bundle, pictures, a damaged bundle, a table. */
async function demo(width) {
  const page = await opened("/", width);
  await page.setInputFiles("#files", join(CORPUS, "v1-picture.vaeb"));
  await shown(page, "model");
  await until(page, () => document.querySelectorAll("#sampled canvas").length === 8);
  const pictures = await page.evaluate(() =>
    Promise.all([0, 1, 2].map(async (n) => {
      const canvas = new OffscreenCanvas(n === 2 ? 30 : 12, 12);
      const context = canvas.getContext("2d");
      for (let y = 0; y < 12; y++) {
        context.fillStyle = `rgb(${60 + 10 * y}, ${60 + 9 * y}, ${n === 1 ? 255 : 50 + 8 * y})`;
        context.fillRect(0, y, 30, 1);
      }
      return [...new Uint8Array(await (await canvas.convertToBlob()).arrayBuffer())];
    })),
  );
  await page.setInputFiles("#files", pictures.map((bytes, n) => ({ name: `p${n}.png`, mimeType: "image/png", buffer: Buffer.from(bytes) })));
  await shown(page, "results");
  await until(page, () => document.querySelectorAll(".tile").length === 3);
  const tiles = await page.$$eval(".tile", (all) => all.map((tile) => tile.innerText));
  const first = await pixels(page);
  await slide(page, "seed", "8");
  await slide(page, "seed", "7");
  const again = await pixels(page);
  await page.click("#verify");
  await shown(page, "verified");
  const seen = { tiles, again: first === again, summary: await text(page, "summary"), verified: await text(page, "verified") };
  seen.maps = await page.$$eval("canvas.map", (all) => all.length);
  seen.overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  await page.screenshot({ path: join(folder, `pictures-${width}.png`), fullPage: true });
  const damaged = flipped(bundle("v1-picture.vaeb"), 20_000);
  await page.setInputFiles("#files", { name: "damaged.vaeb", mimeType: "", buffer: Buffer.from(damaged) });
  await shown(page, "error");
  seen.error = await text(page, "error");
  await page.setInputFiles("#files", [
    { name: "v1-window.vaeb", mimeType: "", buffer: Buffer.from(bundle("v1-window.vaeb")) },
    { name: "rows.csv", mimeType: "text/csv", buffer: Buffer.from(sensorRows()) },
  ]);
  await until(page, () => document.querySelectorAll(".chart .anomaly").length > 0);
  seen.windows = await text(page, "summary");
  seen.table = await page.$$eval("tbody tr", (all) => all.map((row) => row.innerText));
  await page.screenshot({ path: join(folder, `windows-${width}.png`), fullPage: true });
  await page.close();
  return seen;
}

/** 101 rows with the columns out of order; those of the third window are far away, one of the fourth is not finite. */
function sensorRows() {
  const lines = ["z,y,x,w,v"];
  for (let i = 0; i < 101; i++) {
    const row = [0, 1, 2, 3, 4].map((k) => (5 + Math.sin(i + k) + (i >= 40 && i < 60 && k === 2 ? 40 : 0)).toFixed(3));
    if (i === 70) row[1] = "";
    lines.push(row.join(","));
  }
  return lines.join("\n");
}

const seen = { golden: await golden() };
if (engine === "wasm") {
  seen.conformance = await conformance();
  // In the form of tests/conformance/results, to be kept there.
  writeFileSync(join(folder, "javascript-chromium.json"), `${JSON.stringify(seen.conformance, null, 1)}\n`);
  seen.problems = problems.splice(0); // of the package; a damaged bundle on the page is none
  seen.pages = { 1280: await demo(1280), 390: await demo(390) };
}
seen.pageProblems = problems;
console.log(JSON.stringify(seen));
await browser.close();
