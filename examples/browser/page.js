// The page: files in, scores and samples out. The session lives in a worker.

import { connect } from "./node_modules/vae-edge/src/worker.js";
import { make, mapCanvas, perPixel, pictureCanvas, rowChart, scoreChart, shortNumber } from "./drawing.js";
import { isPicture, pictureRow, tableRows } from "./rows.js";

const $ = (id) => document.getElementById(id);
const ENGINES = { wasm: ["vae-worker.js", {}], webgpu: ["vae-worker-webgpu.js", { session: { executionProviders: ["webgpu"] } }] };
const asked = new URLSearchParams(location.search);
const MOST_PICTURES = 200;
const SAMPLES = 8;
const TOP_ROWS = 12;

/** What the page holds: the session, the bundle's file, the rows that were dropped, their scores. */
const state = { vae: null, bundle: null, rows: null, scores: null, chosen: null };

function showError(error) {
  $("error").replaceChildren(make("strong", {}, error.name ?? "Error"), error.message ?? String(error));
  $("error").hidden = false;
}

/** Run one thing after the other: a slider moves faster than an engine runs. */
let last = Promise.resolve();
function inTurn(action) {
  const turn = last.then(action).catch(showError);
  last = turn;
  return turn;
}

async function openBundle(file, variant) {
  const [script, options] = ENGINES[asked.get("engine")] ?? ENGINES.wasm;
  const worker = new Worker(new URL(script, import.meta.url), { type: "module" });
  const started = performance.now();
  const vae = await connect(worker, file, { ...options, ...(variant ? { variant } : {}) });
  await state.vae?.close();
  Object.assign(state, { vae, bundle: file });
  showModel(performance.now() - started);
  await sample();
  if (state.rows) await takeRows(state.rows).catch((error) => dropRows(error));
}

function dropRows(error) {
  state.rows = null;
  $("results").hidden = true;
  showError(error);
}

function showModel(ms) {
  const { manifest: m, heads, info } = state.vae;
  const calibration = calibrationOf(heads[0]);
  $("name").textContent = `${m.model.name} ${m.model.version}`;
  const known = [m.model.licence, m.model.source].filter((text) => text && text !== "unspecified");
  $("description").textContent = m.model.description || known.join(" · ");
  const facts = {
    "one row": `${m.input.shape.join(" × ")} ${m.input.dtype}, ${m.input.layout}`,
    latent: `${m.latent.shape.join(" × ")}, ${m.latent.kind}`,
    threshold: calibration ? `${shortNumber(calibration.threshold)} (${heads[0]})` : "not calibrated",
    "calibration rows": calibration ? String(calibration.n) : "–",
    runs: `onnxruntime ${info.engineVersion}, ${info.providers.join(", ")}; ready in ${Math.round(ms)} ms`,
    "bundle id": info.bundleId.slice(0, 16),
  };
  $("facts").replaceChildren(
    ...Object.entries(facts).map(([term, value]) => make("div", {}, make("dt", {}, term), make("dd", {}, value))),
  );
  fill("variant", Object.keys(m.variants).sort(), info.variant);
  fill("head", heads, heads[0]);
  $("variant-label").hidden = Object.keys(m.variants).length < 2;
  $("head-label").hidden = heads.length < 2;
  $("model").hidden = false;
  $("verified").hidden = true;
  $("drop").classList.add("small");
  $("drop-title").textContent = isPicture(m.input) ? "Drop pictures here" : "Drop a CSV of sensor rows here";
  $("drop-hint").textContent = "or another bundle";
  const canSample = m.latent.prior.kind !== "none" && (m.condition === null || isLabel(m.condition));
  $("samples").hidden = !canSample;
  $("temperature-label").hidden = m.latent.kind === "codes";
  $("condition-label").hidden = m.condition === null;
  if (m.condition) Object.assign($("condition"), { min: m.condition.low, max: m.condition.high, value: m.condition.low });
}

const isLabel = (condition) => condition.dtype === "int64" && condition.shape.length === 0;

function fill(id, names, chosen) {
  $(id).replaceChildren(...names.map((name) => make("option", { value: name, selected: name === chosen }, name)));
}

function condition() {
  const spec = state.vae.manifest.condition;
  if (spec === null) return {};
  if (!isLabel(spec)) throw new Error("the model takes a vector beside each row; this page has none to give");
  return { condition: Number($("condition").value) };
}

async function sample() {
  const { manifest: m } = state.vae;
  if ($("samples").hidden) return;
  const [seed, temperature] = [Number($("seed").value), Number($("temperature").value) / 10];
  const options = m.latent.kind === "codes" ? { seed } : { seed, temperature };
  const { data, shape } = await state.vae.sample(SAMPLES, { ...options, ...condition() });
  const size = data.length / shape[0];
  const range = m.output.dtype === "uint8" ? {} : { low: m.input.low, high: m.input.high };
  const rows = Array.from({ length: SAMPLES }, (_, i) => data.subarray(i * size, (i + 1) * size));
  $("sampled").classList.toggle("charts", !isPicture(m.input));
  $("sampled").replaceChildren(
    ...rows.map((row, i) => (isPicture(m.input) ? pictureCanvas(row, m.input, range) : rowChart(row, m.input, `sample ${i}`))),
  );
}

/** Read files that were dropped: a bundle, pictures, or a table. */
async function take(files) {
  $("error").hidden = true;
  const bundle = files.find((file) => file.name.endsWith(".vaeb"));
  const rest = files.filter((file) => !file.name.endsWith(".vaeb"));
  if (rest.length) state.rows = null; // these take their place
  if (bundle) await openBundle(bundle);
  if (!rest.length) return;
  if (!state.vae) throw new Error("drop a .vaeb bundle first: it says what the rows mean");
  const { input } = state.vae.manifest;
  if (isPicture(input)) {
    if (rest.length > MOST_PICTURES) throw new Error(`${rest.length} pictures; this page shows up to ${MOST_PICTURES} at once`);
    rest.sort((a, b) => (a.name < b.name ? -1 : 1));
    const pictures = await Promise.all(rest.map((file) => pictureRow(file, input)));
    const size = pictures[0].row.length;
    const data = new pictures[0].row.constructor(pictures.length * size);
    pictures.forEach(({ row }, i) => data.set(row, i * size));
    await takeRows({ data, names: rest.map((file, i) => [file.name, pictures[i].note].filter(Boolean).join(", ")) });
  } else {
    const { data, rows, skipped, columns } = tableRows(await rest[0].text(), input);
    await takeRows({ data, names: Array.from({ length: rows }, (_, i) => String(i)), columns, skipped });
  }
}

async function takeRows(rows) {
  const started = performance.now();
  const scores = await state.vae.score(rows.data, { heads: "all", maps: true, ...condition() });
  const took = performance.now() - started;
  const rebuilt = isPicture(state.vae.manifest.input) ? await rebuild(rows.data, scores.status) : null;
  Object.assign(state, { rows, scores, rebuilt, took, chosen: null });
  await showResults();
}

/** Reconstructions, drawn beside the pictures; a row without a score has none. */
async function rebuild(data, status) {
  const size = data.length / status.length;
  const made = [];
  for (let i = 0; i < status.length; i++) {
    const row = data.subarray(i * size, (i + 1) * size);
    made.push(status[i] ? null : (await state.vae.reconstruct(row, condition())).data);
  }
  return made;
}

/** The rate of the slider: 0 is that of the bundle; else from 0.1 % to 50 %, by powers. */
async function threshold(head) {
  const place = Number($("rate").value);
  const own = state.scores.heads[head].threshold ?? null;
  const calibration = calibrationOf(head);
  if (place === 0 || !calibration) {
    $("rate-value").textContent = calibration ? percent(calibration.false_positive_rate) : "";
    return own;
  }
  const least = 1 / (calibration.n + 1);
  const rate = Math.max(least * 1.0001, 0.001 * 500 ** (place / 100));
  $("rate-value").textContent = percent(rate);
  return state.vae.thresholdFor(rate, { head });
}

function calibrationOf(head) {
  const variant = state.vae.manifest.variants[state.vae.info.variant];
  return head === state.vae.manifest.score.heads[0] ? variant.calibration : variant.channels[head];
}

const percent = (rate) => `${shortNumber(Number((100 * rate).toPrecision(2)))} %`;

async function showResults() {
  const head = $("head").value;
  const limit = await threshold(head);
  const { scores, rows, took } = state;
  const { score } = scores.heads[head];
  const above = Array.from(score, (value) => limit !== null && value > limit);
  const unscored = scores.status.filter((status) => status !== 0).length;
  const count = above.filter(Boolean).length;
  const unit = isPicture(state.vae.manifest.input) ? "pictures" : state.vae.manifest.input.layout === "time_features" ? "windows" : "rows";
  $("summary").textContent = `${count} of ${score.length} ${unit} ${count === 1 ? "is an anomaly" : "are anomalies"}`;
  $("overlay-label").hidden = !isPicture(state.vae.manifest.input);
  $("rate").disabled = !calibrationOf(head);
  const each = { score, above, limit, pValue: scores.heads[head].pValue };
  $("list").replaceChildren(...(isPicture(state.vae.manifest.input) ? [tiles(each)] : table(each)));
  const skipped = rows.skipped ? `; ${rows.skipped} rows at the end fill no window` : "";
  $("list").append(make("p", { class: "note" }, `${Math.round(took)} ms${unscored ? `; ${unscored} without a score` : ""}${skipped}`));
  $("results").hidden = false;
}

function badge(i, { above }) {
  const status = state.scores.status[i];
  if (status) return make("span", { class: "badge status" }, ["", "input not finite", "output not finite", "unknown code"][status]);
  return make("span", { class: above[i] ? "badge anomaly" : "badge" }, above[i] ? "anomaly" : "normal");
}

const pText = (pValue, i) => (pValue && Number.isFinite(pValue[i]) ? `p ${shortNumber(pValue[i])}` : "");

function tiles(each) {
  const { manifest: m } = state.vae;
  const size = state.rows.data.length / each.score.length;
  const maps = Array.from(each.score, (_, i) => state.scores.map.data.subarray(i * size, (i + 1) * size));
  // One scale for all pictures, so that a normal one stays dark: a high quantile of all places.
  const places = maps.flatMap((map, i) => (state.scores.status[i] ? [] : [...perPixel(map, m.input)])).sort((a, b) => a - b);
  const largest = places[Math.floor(places.length * 0.995)] ?? 1;
  const range = { low: 0, high: m.input.dtype === "uint8" || m.input.high > 1 ? 255 : 1 };
  const grid = make("div", { class: $("overlay").checked ? "grid" : "grid no-map" });
  each.score.forEach((score, i) => {
    const row = state.rows.data.subarray(i * size, (i + 1) * size);
    const picture = [pictureCanvas(row, m.input, range)];
    if (!state.scores.status[i]) picture.push(mapCanvas(maps[i], m.input, largest));
    const rebuilt = state.rebuilt[i];
    const second = rebuilt ? pictureCanvas(rebuilt, m.input, range) : "no reconstruction";
    const share = each.limit ? Math.min(100, (50 * score) / each.limit) : 0;
    const filled = make("i", { class: each.above[i] ? "anomaly" : "" });
    filled.style.width = `${Math.max(0, share)}%`;
    grid.append(
      make("article", { class: each.above[i] ? "tile anomaly" : "tile" },
        make("div", { class: "pair" },
          make("figure", {}, make("div", { class: "stack" }, ...picture), make("figcaption", {}, "picture")),
          make("figure", {}, make("div", { class: "stack" }, second), make("figcaption", {}, "reconstruction"))),
        make("div", { class: "tile-text" },
          make("span", { class: "tile-name", title: state.rows.names[i] }, state.rows.names[i]),
          make("div", { class: "tile-score" }, make("b", {}, shortNumber(score)), badge(i, each)),
          each.limit ? make("div", { class: "meter", title: "the line in the middle is the threshold" }, filled) : null,
          make("span", { class: "muted" }, pText(each.pValue, i)))),
    );
  });
  return grid;
}

/** The features of a row that add most to its score. */
function topFeatures(i) {
  const { input } = state.vae.manifest;
  const width = input.shape[input.shape.length - 1];
  const size = state.rows.data.length / state.scores.score.length;
  const map = state.scores.map.data.subarray(i * size, (i + 1) * size);
  const sums = new Float64Array(width);
  map.forEach((value, place) => (sums[place % width] += Math.max(0, value)));
  const total = sums.reduce((a, b) => a + b, 0) || 1;
  return [...sums.keys()].sort((a, b) => sums[b] - sums[a]).slice(0, 3)
    .map((feature) => make("span", {}, `${state.rows.columns[feature]} ${Math.round((100 * sums[feature]) / total)} %`));
}

function table(each) {
  const choose = (i) => {
    state.chosen = i;
    inTurn(showResults);
  };
  const order = [...each.score.keys()].sort((a, b) => (each.score[b] || -Infinity) - (each.score[a] || -Infinity));
  const listed = order.slice(0, TOP_ROWS);
  if (state.chosen !== null && !listed.includes(state.chosen)) listed.unshift(state.chosen);
  const lines = listed.map((i) =>
    make("tr", { class: i === state.chosen ? "chosen" : "" },
      make("td", {}, state.rows.names[i]), make("td", {}, shortNumber(each.score[i])), make("td", {}, badge(i, each)),
      make("td", {}, pText(each.pValue, i).slice(2)),
      make("td", {}, make("div", { class: "shares" }, ...(state.scores.status[i] ? [] : topFeatures(i))))));
  const head = make("tr", {}, ...["row", "score", "decision", "p-value", "largest shares"].map((name) => make("th", {}, name)));
  return [
    scoreChart(each.score, each.limit, choose),
    make("div", { class: "table-wrap" }, make("table", {}, make("thead", {}, head), make("tbody", {}, ...lines))),
  ];
}

async function verifyHere() {
  $("verify").disabled = true;
  try {
    const { ok, checks, rows } = await state.vae.verify();
    const worst = checks.reduce((most, check) => Math.max(most, check.maxRelative), 0);
    const failed = checks.filter((check) => !check.passed).map(({ variant, graph, output }) => `${variant} ${graph}.${output}`);
    $("verified").textContent = ok
      ? `✓ Every byte is the exporter's, and ${checks.length} golden outputs of ${rows} rows are right here (largest relative error ${shortNumber(worst)}).`
      : `✗ Golden outputs differ: ${failed.join(", ")}`;
    $("verified").classList.toggle("bad", !ok);
    $("verified").hidden = false;
  } finally {
    $("verify").disabled = false;
  }
}

/** Listen to the page, then load what its address asks for. */
function start() {
  const drop = $("drop");
  $("files").addEventListener("change", (event) => {
    const files = [...event.target.files];
    event.target.value = ""; // the same file may be chosen again
    inTurn(() => take(files));
  });
  for (const kind of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", kind === "dragover");
      if (kind === "drop") inTurn(() => take([...event.dataTransfer.files]));
    });
  }
  $("verify").addEventListener("click", () => inTurn(verifyHere));
  $("variant").addEventListener("change", () => inTurn(() => openBundle(state.bundle, $("variant").value)));
  $("overlay").addEventListener("change", () => inTurn(showResults));
  for (const id of ["head", "rate"]) $(id).addEventListener("input", () => inTurn(showResults));
  for (const id of ["seed", "temperature", "condition"]) {
    $(id).addEventListener("input", () => {
      $("seed-value").textContent = $("seed").value;
      $("temperature-value").textContent = Number($("temperature").value) / 10;
      inTurn(sample);
      if (id === "condition" && state.rows) inTurn(() => takeRows(state.rows));
    });
  }
  const urls = [asked.get("bundle"), ...(asked.get("rows")?.split(",") ?? [])].filter(Boolean);
  if (urls.length) inTurn(async () => take(await Promise.all(urls.map(fetchFile))));
}

/** A file of this server, as if it had been dropped. */
async function fetchFile(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url} cannot be fetched: the server answers ${response.status}`);
  return new File([await response.blob()], decodeURIComponent(url.split("/").pop()));
}

start();
document.body.dataset.ready = "yes";
