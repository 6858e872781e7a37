// The manifest: keys and types by the tables, then the rules between fields, in the order of the Python runtime.

import { isMemberName, MANIFEST_MEMBER } from "./archive.js";
import { BundleInvalid, BundleTooNew, OptionError, shown } from "./errors.js";
import { computedIn, signatures } from "./signatures.js";
import { build, parse } from "./strict-json.js";
import { ELEMENT_SIZE_BYTES, HEADS, LIMITS, SCHEMA_VERSION, VERSION } from "./tables.js";
import { bringUpToDate } from "./upgrade.js";

const HEX32 = /^[0-9a-f]{32}$/;
const HEX64 = /^[0-9a-f]{64}$/;
const VERSION_OF_ENGINE = /^\d{1,6}(\.\d{1,6}){1,3}$/;
const WRITER = /^\d{1,6}(\.\d{1,6}){0,3}([a-z.+-][a-z0-9.+-]{0,30})?$/;
const MAX_SHAPE_ELEMENTS = 2 ** 31;
const MAX_LENGTHS = 2 ** 32;
const WILDEST_SHAPE = 0.5;
const MAX_MODES = 16; // a packet of compressed rows names its mode in four bits

function check(good, problem) {
  if (!good) throw new BundleInvalid(problem);
}

export function elementCount(shape) {
  return shape.reduce((count, n) => count * Number(n), 1);
}

function checkShape(shape, what) {
  check(shape.length <= 5 && shape.every((n) => 0 < n && n < MAX_SHAPE_ELEMENTS), `${what} is not a shape`);
  check(elementCount(shape) < MAX_SHAPE_ELEMENTS, `${what} holds too many elements`);
}

/** A version's numbers, to compare; suffixes and last zeros do not count. */
export function versionNumbers(version) {
  const digits = /^\d{1,9}(\.\d{1,9})*/.exec(version)?.[0];
  const numbers = digits ? digits.split(".").map(Number) : [];
  while (numbers.length && numbers[numbers.length - 1] === 0) numbers.pop();
  return numbers;
}

/** Whether version `a` is older than `b`. */
export function isOlder(a, b) {
  const [left, right] = [versionNumbers(a), versionNumbers(b)];
  for (let i = 0; i < Math.max(left.length, right.length); i++) {
    const difference = (left[i] ?? 0) - (right[i] ?? 0);
    if (difference) return difference < 0;
  }
  return false;
}

const RULES = {
  GraphSpec(g) {
    check(g.parts.length >= 1 && new Set(g.parts).size === g.parts.length, "parts are missing or repeated");
    check(HEX64.test(g.sha256), "sha256 is not 64 hex digits");
    check(0 < g.size_bytes && g.size_bytes < 2 ** 31, "size_bytes is not below 2 GiB");
    for (const tensors of [g.inputs, g.outputs]) {
      const names = new Set(tensors.map((tensor) => tensor.name));
      check(0 < tensors.length && tensors.length === names.size, "tensors are missing or repeated");
    }
  },
  TailFit(t) {
    const good = 0 < t.excesses && t.excesses <= t.n && t.scale > 0 && t.shape <= WILDEST_SHAPE;
    check(good, "the tail is no distribution: it needs excesses, a positive scale and a shape to 0.5");
  },
  Calibration(c) {
    check(1 <= c.correlation_rows && c.correlation_rows <= c.n, "correlation_rows is not in [1, n]");
    check(c.tail !== null || c.source !== "tail", "a threshold from a tail lacks the tail");
    check(0 < c.points && c.points <= c.n && c.n < MAX_LENGTHS, "points and n disagree");
    check(0 < c.false_positive_rate && c.false_positive_rate < 1, "false_positive_rate is not inside (0, 1)");
  },
  MemberSpec(m) {
    check(0 <= m.size_bytes && m.size_bytes < 2 ** 31, "size_bytes is not below 2 GiB");
    check(HEX64.test(m.sha256), "sha256 is not 64 hex digits");
  },
  ModelCard(m) {
    check(m.name.trim() !== "", "the name is empty");
  },
  InputSpec(x) {
    checkShape(x.shape, "shape");
    const axes = { nchw: 3, nhwc: 3, features: 1, time_features: 2 }[x.layout] ?? x.shape.length;
    check(x.shape.length === axes, `layout ${x.layout} needs ${axes} axes`);
    check(x.low <= x.high, `low ${x.low} is above high ${x.high}`);
    const named = x.names.length === 0 || x.names.length === x.shape[x.shape.length - 1];
    check(named, `${x.names.length} names for the last axis`);
    check(x.fit === "exact" || x.layout === "nchw" || x.layout === "nhwc", "a fit is for pictures");
    if (x.overlap !== null) {
      check(x.layout === "nchw" || x.layout === "nhwc", "tiles are of pictures");
      const sides = x.layout === "nchw" ? x.shape.slice(1) : x.shape.slice(0, 2);
      const most = Math.floor(Math.min(...sides) / 2);
      check(0 <= x.overlap && x.overlap <= most, "overlap is not between 0 and half of a tile");
      check(x.fit === "exact", "tiles and a fit exclude each other");
      const whole = x.calibrated_size ?? sides.slice(0, 2);
      check(whole.length === 2 && whole.every((n, i) => n >= sides[i]), `no tile fits into ${whole.join(" x ")}`);
    }
    check(x.calibrated_size === null || x.overlap !== null, "a calibrated size is of pictures in tiles");
    const columns = x.codes.map(({ column }) => column);
    check(new Set(columns).size === columns.length, "two ranges of codes for one column");
    const places = columns.every((column) => 0 <= (column ?? 0) && (column ?? 0) < x.shape[x.shape.length - 1]);
    check(places && (!columns.includes(null) || columns.length === 1), `codes are in the columns ${columns.join(", ")}`);
  },
  FreeSize(f) {
    check(f.multiple.length === 2 && f.smallest.length === 2, "multiple and smallest are not a height and a width each");
    check(Math.min(...f.multiple, ...f.smallest) >= 1, "multiple or smallest is below 1");
    const sizes = new Set(f.checks.map(({ height, width }) => `${height}x${width}`));
    check(0 < f.checks.length && f.checks.length === sizes.size && sizes.size <= 8, "sizes are missing, repeated or too many");
    const fits = (side, axis) => side % f.multiple[axis] === 0 && side >= f.smallest[axis];
    check(f.checks.every((c) => fits(c.height, 0) && fits(c.width, 1)), "a size that was compared does not fit");
  },
  SizeCheck(c) {
    check(Math.min(c.height, c.width, c.rows) >= 1, "a height, a width or the rows of a size are below 1");
  },
  CodeRange(c) {
    check(c.low <= c.high, `low ${c.low} is above high ${c.high}`);
  },
  ConditionSpec(c) {
    checkShape(c.shape, "shape");
    check(c.low <= c.high, `low ${c.low} is above high ${c.high}`);
  },
  Preprocessing(p) {
    check(p.offset.length === p.scale.length && p.offset.length >= 1, "offset and scale differ in length");
    check(p.scale.every((s) => s > 0), "a scale is not positive");
  },
  PriorSpec(p) {
    const stored = p.kind === "gaussian_mixture" || p.kind === "categorical";
    const has = p.member !== null;
    check(stored === has && has === p.components > 0, `a prior '${p.kind}' lacks its numbers`);
  },
  LatentSpec(l) {
    checkShape(l.shape, "shape");
    check(l.scale > 0, "scale is not positive");
    const codes = l.kind === "codes";
    const embedded = l.embedding_shape.length > 0;
    check(codes === l.codebook > 0 && codes === embedded, "codebook and kind disagree");
    check(l.prior.kind === "none" || codes === (l.prior.kind === "categorical"), "prior and kind disagree");
    if (embedded) checkShape(l.embedding_shape, "embedding_shape");
    if (l.prior.kind === "categorical") {
      const tables = [1, elementCount(l.shape)];
      check(tables.includes(l.prior.components), "the prior's table does not fit the grid");
    }
    if (l.groups.length) {
      const total = l.groups.reduce((sum, group) => sum + elementCount(group), 0);
      const fits = l.shape.length === 1 && l.shape[0] === total;
      check(fits, `groups of ${total} elements do not fit the latent`);
    }
  },
  ScoreSpec(s) {
    const klWeight = s.kl_weight ?? 0;
    check(s.variance === null || s.variance > 0, "variance is not positive");
    check(s.reconstruction_weight >= 0 && klWeight >= 0, "a weight is negative");
    check(s.reconstruction_weight + klWeight > 0, "both weights are 0");
    check(s.heads.length > 0 && new Set(s.heads).size === s.heads.length, "heads are missing or repeated");
    check(HEADS[s.heads[0]].may_be_default, `${s.heads[0]} cannot be the default head`);
    check(0 < s.top_share && s.top_share <= 1 && s.map_sigma >= 0, "top_share or map_sigma is out of range");
    check(s.draws > 0 === computedIn(s, "sampled").length > 0, "draws and heads disagree");
    check(s.kl_weight !== null || !s.heads.some((head) => HEADS[head].needs_kl), "a head needs a KL there is not");
    const ensembles = computedIn(s, "p_values");
    check(ensembles.length > 0 === s.parts.length > 1, "an ensemble lacks its parts");
    const parts = s.parts.every((part) => s.heads.includes(part) && !ensembles.includes(part));
    check(parts, "an ensemble combines what is no head");
    const decides = s.decides_by;
    check(decides === null || s.heads.indexOf(decides) > 0, `decides_by is ${decides}, which is none of the further heads`);
    check(decides === null || HEADS[decides].may_decide, `the head ${decides} must not decide`);
  },
  TensorSpec(t) {
    checkShape(t.shape, `${shown(t.name)}: shape`);
  },
  Requirements(r) {
    check(VERSION_OF_ENGINE.test(r.onnxruntime), "onnxruntime is no version");
  },
  GuardSpec(g) {
    const lengths = g.low.length === g.high.length && g.low.length === g.constant.length && g.low.length >= 1;
    check(lengths, "low, high and constant differ in length");
    check(g.low.every((low, i) => low <= g.high[i]), "a low is above its high");
    check(g.margin >= 0 && g.stuck_rows >= 0 && g.saturated_rows >= 0, "a limit is negative");
    check(g.period_s === null || g.period_s > 0, "period_s is not positive");
  },
  AlarmSpec(a) {
    const counts = 1 <= a.raise_after && a.raise_after <= a.of && a.of <= 1 << 16;
    check(counts, "raise_after and of disagree");
    check(a.clear_after >= 1 && a.cool_down >= 0, "clear_after or cool_down is out of range");
    check(0 < a.clear_rate && a.clear_rate < 1, "clear_rate is not inside (0, 1)");
  },
  Reduction(r) {
    check(0 <= r.layers && r.layers <= r.layers_total, "more layers reduced than there are");
    check((r.activations === "none") === (r.ranges === "none"), "activations and ranges disagree");
  },
  ModelFit(f) {
    check(f.rows >= 1, "fit: rows is below 1");
    check(f.r2 === null || f.r2 <= 1, "fit: r2 is above 1");
    check(f.fed_low <= f.fed_high, "fit: fed_low is above fed_high");
    check(0 <= f.latents_in_use && f.latents_in_use <= f.latents, "fit: latents_in_use is out of range");
  },
  CompressionMode(c) {
    check(c.name.trim() !== "", "a mode has no name");
    check(c.rows >= 1, "a mode: rows is below 1");
    check(c.row_bytes > 0 && c.latent_bytes >= 0, "a mode: sizes are out of range");
    check((c.kind === "bounded") === c.bound.length > 0, "a mode: kind and bound disagree");
    check(c.bound.every((bound) => bound > 0), "a mode: a bound is not positive");
    check(c.kind !== "latents" || c.predictor === "vae", "latents need the network");
    check(c.flipped === null || c.flipped >= 0, "a mode: flipped is negative");
  },
  SampleFigures(s) {
    check(s.rows >= 1, "samples: rows is below 1");
    check(s.low <= s.high, "samples: low is above high");
    check(s.spread >= 0 && (s.rows_spread ?? 0) >= 0, "samples: a spread is negative");
  },
  Compression(c) {
    const names = new Set(c.modes.map(({ name }) => name));
    const counts = 1 <= names.size && names.size === c.modes.length && names.size <= MAX_MODES;
    check(counts, "modes are missing, repeated or too many");
    check(c.modes[0].kind === "latents", "the first mode is not latents");
    check(c.spread.length === c.margin.length && c.spread.length >= 1, "spread and margin differ in length");
    check([...c.spread, ...c.margin].every((value) => value > 0), "a spread or a margin is not positive");
    check(c.modes.every(({ bound }) => [0, c.spread.length].includes(bound.length)), "a bound does not fit the features");
  },
  Manifest: checkManifest,
};

/** Calibrations of all heads of a variant. */
function calibrationsOf(variant) {
  return [...(variant.calibration ? [variant.calibration] : []), ...Object.values(variant.channels)];
}

/** Every member name the manifest points at. */
function referenced(m) {
  const names = [];
  for (const variant of Object.values(m.variants)) {
    for (const graph of Object.values(variant.graphs)) names.push(...graph.parts);
    names.push(...calibrationsOf(variant).map((calibration) => calibration.member));
    if (variant.latent_statistics) names.push(variant.latent_statistics);
  }
  for (const member of [m.latent.prior.member, m.golden.condition]) if (member !== null) names.push(member);
  if (m.compression) names.push(...m.compression.modes.map(({ member }) => member));
  for (const golden of [m.golden, ...(m.free_size ? m.free_size.checks : [])]) {
    names.push(golden.input);
    for (const members of Object.values(golden.expected)) names.push(...Object.values(members));
  }
  return new Set(names);
}

const BESIDE = "this bundle takes masks or targets beside its rows, which this package does not: use the Python runtime";
const FOR_GENERATION = "this bundle was exported for generation, and this package runs bundles that score";
function checkManifest(m) {
  if (m.purpose !== "scoring") throw new OptionError(FOR_GENERATION);
  if (m.condition !== null && m.condition.role !== "condition") throw new OptionError(BESIDE);
  check(m.release >= 1, "release is below 1");
  check(HEX32.test(m.pair_id), "pair_id is not 32 hex digits");
  check("vae_edge" in m.made_with, "made_with does not say which vae_edge wrote the bundle");
  const names = Object.keys(m.variants);
  check(names.length > 0, "there is no variant");
  check(names.length <= LIMITS.MAX_VARIANTS, `${names.length} variants; the limit is ${LIMITS.MAX_VARIANTS}`);
  const used = referenced(m);
  for (const name of Object.keys(m.members)) {
    check(isMemberName(name) && name !== MANIFEST_MEMBER, `member name ${shown(name)} is not valid`);
    check(used.has(name), `member ${name} is listed and not used`);
  }
  for (const name of used) check(name in m.members, `member ${shown(name)} is used and not listed`);
  check(m.score.kl_weight === null || m.latent.kind === "gaussian", "a KL needs a gaussian posterior");
  if (m.latent.prior.member !== null) checkSize(m, m.latent.prior.member, priorBytes(m.latent));
  for (const name of names) checkVariant(m, name);
  checkGolden(m);
  check(m.compression === null || "fp32" in m.variants, "compression needs the variant fp32");
}

function checkSize(m, member, wanted) {
  const have = m.members[member].size_bytes;
  check(have === wanted, `${member} holds ${have} bytes, not ${wanted}`);
}

function priorBytes({ prior, shape, codebook }) {
  const components = Number(prior.components);
  if (prior.kind === "categorical") return 4 * components * Number(codebook);
  return prior.kind === "gaussian_mixture" ? 4 * components * (1 + 2 * elementCount(shape)) : 0;
}

function checkVariant(m, name) {
  const variant = m.variants[name];
  const wanted = signatures(m);
  const graphs = Object.keys(variant.graphs).sort().join();
  check(graphs === Object.keys(wanted).sort().join(), `graphs of ${shown(name)} are ${shown(graphs)}`);
  for (const [graph, signature] of Object.entries(wanted)) {
    const spec = variant.graphs[graph];
    const where = `variant ${shown(name)}: ${graph}`;
    check(spec.parts.length <= LIMITS.MAX_PARTS, `${where} has more than ${LIMITS.MAX_PARTS} parts`);
    for (const side of ["inputs", "outputs"]) {
      check(sameTensors(spec[side], signature[side]), `${where} ${side} are not the model's`);
    }
    const size = spec.parts.reduce((sum, part) => sum + m.members[part].size_bytes, 0);
    check(size === spec.size_bytes, `${where}: its parts add up to ${size}, not ${spec.size_bytes}`);
  }
  const reduced = variant.precision !== "fp32";
  const agree = reduced === (variant.reduction !== null) && reduced === (variant.fidelity !== null);
  check(agree, `variant ${shown(name)}: precision, reduction and fidelity disagree`);
  for (const calibration of calibrationsOf(variant)) checkSize(m, calibration.member, 8 * calibration.points);
  const { heads } = m.score;
  const further = variant.calibration ? heads.slice(1) : [];
  const channels = Object.keys(variant.channels);
  const same = channels.length === further.length && channels.every((head) => further.includes(head));
  check(same, `variant ${shown(name)}: channels and heads differ`);
  check(Object.keys(variant.traps).every((head) => heads.includes(head)), "traps of what is no head");
  for (const [head, { statistic }] of Object.entries(HEADS)) {
    const fitted = statistic === null || heads.includes(head) === (variant[statistic] !== null);
    check(fitted, `variant ${shown(name)}: ${head} and its statistics disagree`);
  }
  if (variant.latent_statistics) {
    const latents = elementCount(m.latent.shape);
    checkSize(m, variant.latent_statistics, 4 * latents * (1 + latents));
  }
}

function sameTensors(a, b) {
  const plain = (tensors) => JSON.stringify(tensors.map(({ name, dtype, shape }) => [name, dtype, shape.map(Number)]));
  return plain(a) === plain(b);
}

function checkGolden(m) {
  const { golden } = m;
  check(golden.rows >= 1, "there are no golden rows");
  const variants = Object.keys(m.variants).sort().join("\n");
  for (const named of [golden.expected, golden.tolerance_relative]) {
    check(Object.keys(named).sort().join("\n") === variants, "golden vectors and variants differ");
  }
  check((golden.condition === null) === (m.condition === null), "golden rows and conditions disagree");
  const sized = [[golden.input, m.input]];
  if (golden.condition !== null) sized.push([golden.condition, m.condition]);
  for (const [variant, members] of Object.entries(golden.expected)) {
    const { graphs } = m.variants[variant];
    const fed = `encode.${graphs.encode.outputs[0].name}`;
    check(fed in members, `golden rows of ${shown(variant)} lack ${fed}, which decode is fed`);
    const tolerances = Object.keys(golden.tolerance_relative[variant]).sort().join("\n");
    check(tolerances === Object.keys(members).sort().join("\n"), "golden rows and tolerances differ");
    for (const [output, member] of Object.entries(members)) {
      const dot = output.indexOf(".");
      const graph = output.slice(0, Math.max(dot, 0));
      const tensor = graphs[graph]?.outputs.find(({ name }) => name === output.slice(dot + 1));
      check(tensor !== undefined, `golden output ${shown(output)} does not exist`);
      sized.push([member, tensor]);
    }
  }
  for (const [member, { dtype, shape }] of sized) {
    checkSize(m, member, Number(golden.rows) * ELEMENT_SIZE_BYTES[dtype] * elementCount(shape));
  }
}

/** What to do about a bundle that is too new. */
export function remedy(writer) {
  const update = `update vae-edge ${VERSION} here`;
  const known = typeof writer === "string" && WRITER.test(writer) && isOlder(VERSION, writer);
  return known ? `${update} to ${writer}, which wrote this bundle, or newer` : update;
}

/** A whole number out of parsed JSON, or null: `true` and 1.0 are none. */
function wholeOf(value) {
  return typeof value?.whole === "bigint" ? value.whole : null;
}

/** Parse and check the bytes of a manifest; raises BundleInvalid or BundleTooNew. */
export function readManifest(bytes) {
  const member = MANIFEST_MEMBER;
  const parsed = parse(bytes, member);
  const inside = (value, key) => (value instanceof Map ? value.get(key) : undefined);
  const version = wholeOf(inside(parsed, "schema_version"));
  if (version !== null) {
    const writer = inside(inside(parsed, "made_with"), "vae_edge");
    const wanted = wholeOf(inside(inside(parsed, "requires"), "runtime_schema"));
    for (const [number, what] of [[version, "is of schema version"], [wanted, "needs runtime schema"]]) {
      if (number !== null && number > SCHEMA_VERSION) {
        const problem = `${what} ${number}, this runtime reads up to ${SCHEMA_VERSION}: ${remedy(writer)}`;
        throw new BundleTooNew(problem, { member });
      }
    }
    bringUpToDate(parsed, version, member);
  }
  return build("Manifest", parsed, { member, check: (name, value) => RULES[name]?.(value) });
}
