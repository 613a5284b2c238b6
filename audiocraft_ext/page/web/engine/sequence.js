// The delay pattern and the gates: the twins of audiocraft_ext/core/delay.py and gates.py.
// A clip's codes are K arrays `Int32Array [T]`; its sequence K arrays `Int32Array [S]`.

export const stepsOf = (frames, delays) => frames + Math.max(...delays) + 1;

export function delay(codes, delays, special) {
  return codes.map((row, k) => {
    const out = new Int32Array(stepsOf(row.length, delays)).fill(special);
    out.set(row, delays[k] + 1);
    return out;
  });
}

/** The codes of the frames from `begin` to `end` of a sequence. */
export function undelay(sequence, delays, begin, end) {
  return sequence.map((row, k) => row.slice(begin + delays[k] + 1, end + delays[k] + 1));
}

/** The step that shows the first code below 0, the number of all steps where there is none. */
export function firstUnknown(codes, delays) {
  const steps = codes.map((row, k) => [row.findIndex((code) => code < 0), delays[k] + 1]);
  return Math.min(stepsOf(codes[0].length, delays), ...steps.filter(([at]) => at >= 0).map(([at, d]) => at + d));
}

/** The gates of a spec, each behind the one that it hangs on: `{stream, gate, rest, opens, lag}`. */
export function gatesOf(spec) {
  const gates = (spec.gates || []).map(([stream, gate, rest, opens]) => ({
    stream,
    gate,
    rest,
    opens,
    lag: spec.delays[stream] - spec.delays[gate],
  }));
  const source = new Map(gates.map((one) => [one.stream, one.gate]));
  const depth = (one) => {
    let n = 0;
    for (let at = one.gate; source.has(at); at = source.get(at)) n++;
    return n;
  };
  return gates.sort((a, b) => depth(a) - depth(b) || a.stream - b.stream);
}

/** Streams that are nothing or something to what hangs on them. */
export const sourcesOf = (gates) => new Set(gates.filter((one) => !one.opens).map((one) => one.gate));

/** Put to rest what was unknown in step `s` and has its gate closed; `unknown` is a bool for each stream. */
export function close(gates, sequence, s, unknown) {
  for (const { stream, gate, rest, opens, lag } of gates) {
    if (!unknown[stream]) continue;
    const code = sequence[gate][Math.max(s - lag, 0)];
    if (opens ? !opens.includes(code) : code === 0) sequence[stream][s] = rest;
  }
}
