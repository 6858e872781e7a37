// Manifests of older schema versions, made into the current one before they are read.

import { BundleInvalid } from "./errors.js";
import { Numeral } from "./strict-json.js";
import { SCHEMA_VERSION, UPGRADES } from "./tables.js";

/** By name in the tables, what makes a parsed manifest of one version one of the next. */
const STEPS = {
  _without_compression: (parsed) => parsed.set("compression", null), // no bundle of version 1 has tables for it
};

/** Change a parsed manifest of an older version to the current one. */
export function bringUpToDate(parsed, version, member) {
  const isKnown = version === BigInt(SCHEMA_VERSION) || Object.hasOwn(UPGRADES, String(version));
  if (!isKnown) throw new BundleInvalid(`schema version ${version} never existed`, { member });
  for (let step = Number(version); step < SCHEMA_VERSION; step++) STEPS[UPGRADES[step]](parsed);
  parsed.set("schema_version", new Numeral(String(SCHEMA_VERSION)));
}
