export { Bundle } from "./bundle.js";
export * from "./errors.js";
export { Alarm, Fault, Guard } from "./guard.js";
export { normalQuantile, standardNormal } from "./noise.js";
export { HeadScores, Posterior, Scores } from "./results.js";
export { open, VAE } from "./session.js";
export { VERSION } from "./tables.js";
export { Status, STATUS_NAMES, Tensor } from "./tensors.js";
export { verify } from "./verification.js";
