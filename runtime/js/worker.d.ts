import type { Conditioned, HeadScores, OpenOptions, OrtModule, Posterior, Rows, ScoreOptions, Scores, Session, Source, Tensor, Verification } from "./index.js";

/** In the worker: answer the calls of `connect`. `port` is `parentPort` in Node. */
export function serve(ort: OrtModule, port?: unknown): void;

/** The fields of a value, without its methods. */
type Fields<T> = { [K in keyof T as T[K] extends (...given: any[]) => any ? never : K]: T[K] };
/** What was not asked for, or what the bundle has nothing for, is left out. */
export type PlainHeadScores = Partial<Fields<HeadScores>>;
export type PlainScores = Partial<Omit<Fields<Scores>, "heads" | "map">> & {
  heads: Record<string, PlainHeadScores>;
  map?: Fields<Tensor<Float32Array>>;
  score: Float32Array;
  status: Uint8Array;
};

export interface WorkerSession extends Omit<Session, "decode"> {
  score(x: Rows, options?: ScoreOptions): Promise<PlainScores>;
  encode(x: Rows, options?: Conditioned): Promise<Partial<Fields<Posterior>>>;
  decode(z: Rows, options?: Conditioned): Promise<Tensor>;
  /** Every hash, every graph, and the golden vectors of every variant, here. */
  verify(): Promise<Verification>;
}

/** On the page: open a bundle in a worker whose script calls `serve`. */
export function connect(worker: unknown, source: Source, options?: Omit<OpenOptions, "ort">): Promise<WorkerSession>;
