// Types of the package. Shapes are those of rows in C order; n is the number of rows.

export type Dtype = "float32" | "uint8" | "int64";
export type TypedArray = Float32Array | Uint8Array | Uint8ClampedArray | BigInt64Array;
/** What is read as rows: a typed array of whole rows, or one with its shape, as tensors of ONNX Runtime have. */
export type Rows =
  | TypedArray
  | { data: TypedArray; shape: readonly number[] }
  | { data: TypedArray; dims: readonly number[] };
/** Of a conditional model: one per row, or one for all; a number is a label. */
export type Condition = Rows | number | bigint;
export type Source = ArrayBuffer | SharedArrayBuffer | ArrayBufferView | Blob | string | URL;

/** `onnxruntime-node` or `onnxruntime-web`: what the package uses of it. */
export interface OrtModule {
  InferenceSession: { create(bytes: Uint8Array, options?: any): Promise<any> };
  Tensor: new (...values: any[]) => any;
  env: any;
}

export interface OpenOptions {
  ort: OrtModule;
  /** A variant of the bundle; `auto`, the default, takes fp32 where there is one. */
  variant?: string;
  /** Options of the engine's sessions, such as `{executionProviders: ["webgpu"]}`. */
  session?: Record<string, unknown>;
}

export class Tensor<T extends TypedArray = TypedArray> {
  constructor(dtype: Dtype, data: T, shape: readonly number[]);
  readonly dtype: Dtype;
  readonly data: T;
  readonly shape: readonly number[];
  /** Number of rows. */
  readonly length: number;
  /** The elements of one row, without a copy. */
  row(index: number): T;
}

export const Status: { readonly OK: 0; readonly NON_FINITE_INPUT: 1; readonly NON_FINITE_OUTPUT: 2; readonly UNKNOWN_CODE: 3 };
/** By number: ok, non_finite_input, non_finite_output, unknown_code. */
export const STATUS_NAMES: readonly string[];
export const VERSION: string;

/** The manifest of the bundle, as docs/manifest.schema.json describes it. */
export interface Manifest {
  readonly format: "vae-edge-bundle";
  readonly schema_version: number;
  readonly model: { name: string; version: string; licence: string; source: string; description: string };
  readonly release: number | bigint;
  readonly pair_id: string;
  readonly input: { shape: readonly number[]; dtype: "uint8" | "float32"; layout: string; low: number; high: number; names: readonly string[] };
  readonly output: { name: string; dtype: Dtype; shape: readonly number[] };
  readonly latent: { shape: readonly number[]; kind: "gaussian" | "deterministic" | "codes"; codebook: number };
  readonly score: { heads: readonly string[]; likelihood: string };
  readonly variants: Readonly<Record<string, any>>;
  readonly [key: string]: any;
}

export interface SessionInfo {
  readonly bundleId: string;
  readonly variant: string;
  readonly backend: "onnxruntime-node" | "onnxruntime-web";
  readonly engineVersion: string;
  readonly providers: readonly string[];
}

export class HeadScores {
  /** (n,) larger is less normal; NaN where a row was not scored. */
  readonly score: Float32Array;
  /** null where the bundle carries no calibration. */
  readonly threshold: number | null;
  /** Whether there are p-values. */
  readonly calibrated: boolean;
  /** (n,) score > threshold; false where a row was not scored. Raises CalibrationError without a threshold. */
  readonly isAnomaly: boolean[];
  /** (n,) split-conformal p-values; NaN where a row was not scored. Raises CalibrationError without a calibration. */
  readonly pValue: Float64Array;
  /** Rows to call anomalies together, so that of those called at most this share is normal. */
  discoveries(falseDiscoveryRate: number): boolean[];
}

/** One row of `Scores.toRows`. */
export interface ScoreRow {
  score: number | null;
  reconstruction: number | null;
  kl: number | null;
  p_value: number | null;
  is_anomaly: boolean | null;
  status: string;
  heads: Record<string, number | null>;
}

export class Scores extends HeadScores {
  /** Number of rows. */
  readonly length: number;
  /** Name of the default head. */
  readonly head: string;
  readonly reconstruction: Float32Array;
  /** null where the model has no KL. */
  readonly kl: Float32Array | null;
  /** (n,) values of `Status`. */
  readonly status: Uint8Array;
  /** Those that were asked for, the default one among them. */
  readonly heads: Readonly<Record<string, HeadScores>>;
  /** (n, *input_shape). Raises OptionError where maps were not asked for. */
  readonly map: Tensor<Float32Array>;
  /** One plain object per row, for JSON. */
  toRows(): ScoreRow[];
}

export class Posterior {
  /** (n, *latent_shape); the code of a deterministic model, z_q of a VQ model. */
  readonly mean: Tensor<Float32Array>;
  readonly logvar: Tensor<Float32Array> | null;
  readonly indices: Tensor<BigInt64Array> | null;
  readonly status: Uint8Array;
  readonly pairId: string;
  readonly groups: readonly (readonly number[])[];
  readonly std: Tensor<Float32Array>;
  /** `mean` per latent of a hierarchical model. */
  readonly means: Tensor<Float32Array>[];
  /** One latent per row: mean + temperature * std * noise(seed). */
  sample(options: { seed: number | bigint; temperature?: number }): Tensor<Float32Array>;
}

export interface Conditioned {
  condition?: Condition;
}

/** What a session in this thread and one in a worker have in common. */
export interface Session {
  readonly manifest: Manifest;
  readonly info: SessionInfo;
  /** What this bundle can score by; the first is the default. */
  readonly heads: readonly string[];
  decode(z: Rows | Posterior, options?: Conditioned): Promise<Tensor>;
  reconstruct(x: Rows, options?: Conditioned): Promise<Tensor>;
  sample(n: number, options: { seed: number | bigint; temperature?: number } & Conditioned): Promise<Tensor>;
  /** The latents that `sample` decodes. */
  latents(n: number, options: { seed: number | bigint; temperature?: number }): Promise<Tensor>;
  thresholdFor(falsePositiveRate: number, options?: { head?: string; method?: "conformal" | "tail" }): Promise<number>;
  /** Free the engine after the calls that run now; twice is no error. */
  close(): Promise<void>;
}

export interface ScoreOptions extends Conditioned {
  /** Further heads to score by, or "all". */
  heads?: readonly string[] | string;
  /** Also compute what each element contributes. */
  maps?: boolean;
  /** Of the default head, instead of the calibrated one. */
  threshold?: number | null;
}

/** One item of a stream: rows one after the other, or one with its time, or rows with their times, in seconds. */
export type StreamItem =
  | TypedArray
  | { row: TypedArray; time?: number }
  | { data: TypedArray; shape: readonly number[]; times?: ArrayLike<number> };

export interface StreamEvent {
  readonly kind: "decision";
  /** Of the last row it is about, from 0. */
  readonly index: number;
  readonly time: number | null;
  readonly status: "ok" | "invalid_input" | "unknown_code" | "non_finite_output";
  readonly score: number | null;
  readonly pValue: number | null;
  readonly isAnomaly: boolean | null;
  readonly faults: readonly string[];
  readonly faultFeatures: readonly string[];
  readonly alarm: "off" | "raised" | "on" | "cleared";
}

export interface GuardRules {
  low: readonly number[];
  high: readonly number[];
  margin: number;
  stuck_rows: number;
  saturated_rows: number;
  period_s: number | null;
  constant: readonly boolean[];
}

export interface AlarmRules {
  raise_after: number;
  of: number;
  clear_after: number;
  clear_rate: number;
  cool_down: number;
}

export const Fault: { NON_FINITE: 1; OUT_OF_RANGE: 2; STUCK: 4; SATURATED: 8; GAP: 16 };
/** Faults of sensors, row by row; a sum of `Fault` per feature. */
export class Guard {
  constructor(rules: GuardRules, input: Manifest["input"]);
  readonly late: number;
  check(row: TypedArray, time?: number | null): { flags: Uint8Array; step: boolean };
}
/** From decisions to alarms: k of n, hysteresis, cool-down. */
export class Alarm {
  constructor(rules: AlarmRules);
  step(isAnomaly: boolean | null, pValue: number | null): StreamEvent["alarm"];
}

export class VAE implements Session {
  readonly manifest: Manifest;
  readonly info: SessionInfo;
  readonly heads: readonly string[];
  score(x: Rows, options?: ScoreOptions): Promise<Scores>;
  encode(x: Rows, options?: Conditioned): Promise<Posterior>;
  decode(z: Rows | Posterior, options?: Conditioned): Promise<Tensor>;
  reconstruct(x: Rows, options?: Conditioned): Promise<Tensor>;
  sample(n: number, options: { seed: number | bigint; temperature?: number } & Conditioned): Promise<Tensor>;
  latents(n: number, options: { seed: number | bigint; temperature?: number }): Promise<Tensor>;
  thresholdFor(falsePositiveRate: number, options?: { head?: string; method?: "conformal" | "tail" }): Promise<number>;
  /** Decisions about the rows of a source, by the rules of the bundle: guard, windows, alarm. */
  stream(
    source: Iterable<StreamItem> | AsyncIterable<StreamItem>,
    options?: { stride?: number; guard?: GuardRules; alarm?: AlarmRules },
  ): AsyncGenerator<StreamEvent, void>;
  runGraph(graph: string, feeds: Record<string, Rows>, outputs: readonly string[]): Promise<Tensor[]>;
  readMember(name: string): Promise<Uint8Array>;
  close(): Promise<void>;
}

export class Bundle {
  static open(source: Source): Promise<Bundle>;
  readonly path: string;
  readonly sizeBytes: number;
  readonly manifest: Manifest;
  /** SHA-256 of the manifest, which names every other byte. */
  readonly bundleId: string;
  read(member: string): Promise<Uint8Array>;
  graph(variant: string, graph: string): Promise<Uint8Array>;
  verifyMembers(): Promise<void>;
}

export function open(source: Source | Bundle, options: OpenOptions): Promise<VAE>;

export interface Verification {
  ok: boolean;
  members: number;
  sizeBytes: number;
  rows: number;
  checks: { variant: string; graph: string; output: string; maxRelative: number; toleranceRelative: number; passed: boolean }[];
}
/** Check every hash and every graph, and run the golden vectors of every variant. */
export function verify(source: Source | Bundle, options: Omit<OpenOptions, "variant">): Promise<Verification>;

/** Standard normal noise, the same bits as in every other language. */
export function standardNormal(count: number, key: { seed: number | bigint; stream?: number | bigint }): Float32Array;
export function normalQuantile(p: number): number;

export class VaeEdgeError extends Error {
  readonly problem: string;
}
export class BundleError extends VaeEdgeError {
  readonly path: string;
  readonly member: string | null;
}
export class BundleCorrupt extends BundleError {}
export class BundleInvalid extends BundleError {}
export class BundleTooNew extends BundleError {}
export class GraphRefused extends VaeEdgeError {}
export class PairMismatch extends VaeEdgeError {}
export class InputError extends VaeEdgeError {}
export class OptionError extends VaeEdgeError {}
export class CalibrationError extends VaeEdgeError {
  readonly needed: number | null;
}
export class ProviderUnavailable extends VaeEdgeError {}
export class BackendError extends VaeEdgeError {}
export class SessionClosed extends VaeEdgeError {}
