// Streams without a session: faults of sensors, and alarms. A fault is another alarm than an anomaly, and never a score.

/** What is wrong with a cell; flags of a cell are added up. */
export const Fault = Object.freeze({ NON_FINITE: 1, OUT_OF_RANGE: 2, STUCK: 4, SATURATED: 8, GAP: 16 });

const GAP_PERIODS = 1.5;

/** Names of the faults in one sum of flags. */
export function faultNames(flags) {
  return Object.entries(Fault).filter(([, fault]) => flags & fault).map(([name]) => name.toLowerCase());
}

/** One alarm: k of n, hysteresis, cool-down. `step` is called once per decision, in order. */
export class Alarm {
  #rules;
  #recent = [];
  #isOn = false;
  #clear = 0;
  #cooling = 0;

  /** @param rules an AlarmSpec of the manifest (`stream.alarm`). */
  constructor(rules) {
    this.#rules = rules;
  }

  /**
   * What the alarm does at this decision: off, raised, on or cleared.
   *
   * @param {boolean | null} isAnomaly null where there was no score: such a decision neither raises nor clears.
   * @param {number | null} pValue null: a decision is clear where it is no anomaly.
   */
  step(isAnomaly, pValue) {
    const rules = this.#rules;
    if (isAnomaly === null) return this.#isOn ? "on" : "off";
    if (this.#isOn) {
      const clear = !isAnomaly && (pValue === null || pValue > rules.clear_rate);
      this.#clear = clear ? this.#clear + 1 : 0;
      if (this.#clear < rules.clear_after) return "on";
      this.#isOn = false;
      this.#clear = 0;
      this.#cooling = rules.cool_down;
      this.#recent = [];
      return "cleared";
    }
    if (this.#cooling) {
      this.#cooling--;
      return "off";
    }
    this.#recent.push(isAnomaly);
    if (this.#recent.length > rules.of) this.#recent.shift();
    if (this.#recent.filter(Boolean).length < rules.raise_after) return "off";
    this.#isOn = true;
    return "raised";
  }
}

/** Checks rows one after the other; keeps one row, its run lengths and one time. */
export class Guard {
  #rules;
  #isPerCell;
  #lowest;
  #highest;
  #last = null;
  #runs = null;
  #time = null;

  /** Rows whose time lies before that of the row ahead of them. */
  late = 0;

  /**
   * @param rules a GuardSpec of the manifest (`stream.guard`).
   * @param input the manifest's `input`.
   */
  constructor(rules, input) {
    this.#rules = rules;
    this.#isPerCell = input.layout === "features" || input.layout === "time_features";
    const spans = rules.low.map((low, i) => rules.high[i] - low);
    this.#lowest = rules.low.map((low, i) => low - rules.margin * spans[i]);
    this.#highest = rules.high.map((high, i) => high + rules.margin * spans[i]);
  }

  /**
   * Flags of one row, a sum of `Fault` per feature (of a picture one for all), and whether the row does not follow
   * the one ahead of it in time.
   *
   * @param row a typed array.
   * @param {number | null} time seconds on any clock, or null where they are unknown.
   */
  check(row, time = null) {
    const rules = this.#rules;
    const cells = this.#isPerCell ? row.length : 1;
    const flags = new Uint8Array(cells);
    const runs = this.#runs ?? new Array(cells).fill(0);
    for (let i = 0; i < cells; i++) {
      const values = this.#isPerCell ? row.subarray(i, i + 1) : row;
      if (!values.every(Number.isFinite)) {
        flags[i] = Fault.NON_FINITE;
        runs[i] = 0;
        continue;
      }
      const before = this.#last && (this.#isPerCell ? this.#last.subarray(i, i + 1) : this.#last);
      const isSame = runs[i] > 0 && values.every((value, k) => value === before[k]);
      runs[i] = isSame ? runs[i] + 1 : 1;
      const low = values.reduce((a, b) => Math.min(a, b));
      const high = values.reduce((a, b) => Math.max(a, b));
      if (low < this.#lowest[i] || high > this.#highest[i]) flags[i] |= Fault.OUT_OF_RANGE;
      if (rules.constant[i]) continue;
      const isAtRail = high <= rules.low[i] || low >= rules.high[i];
      if (isAtRail && rules.saturated_rows && runs[i] >= rules.saturated_rows) flags[i] |= Fault.SATURATED;
      if (!isAtRail && rules.stuck_rows && runs[i] >= rules.stuck_rows) flags[i] |= Fault.STUCK;
    }
    this.#last = row.slice();
    this.#runs = runs;
    const step = this.#isGap(time);
    if (step) flags.forEach((_, i) => (flags[i] |= Fault.GAP));
    return { flags, step };
  }

  /** Whether rows are missing before this one, or it comes too late. */
  #isGap(time) {
    if (time === null) return false;
    const step = time - (this.#time ?? time);
    this.#time = time;
    const isLate = step < 0;
    this.late += Number(isLate);
    const longest = this.#rules.period_s ? GAP_PERIODS * this.#rules.period_s : Number.MAX_VALUE;
    return isLate || !(step <= longest); // also beside a time that is not finite
  }
}
