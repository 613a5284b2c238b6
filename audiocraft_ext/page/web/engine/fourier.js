// Fourier transforms of any length, and what a loop needs of them: the twin of `resample_loop` in
// audiocraft_ext/sound/level.py.

/** The transform of complex numbers, in place. Their number is a power of two. */
export function fft(re, im) {
  const n = re.length;
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      [re[i], re[j]] = [re[j], re[i]];
      [im[i], im[j]] = [im[j], im[i]];
    }
  }
  const [cos, sin] = turns(n);
  for (let size = 2; size <= n; size *= 2) {
    const half = size / 2,
      stride = n / size;
    for (let at = 0; at < n; at += size)
      for (let i = 0; i < half; i++) {
        const [a, b, c, s] = [at + i, at + i + half, cos[i * stride], sin[i * stride]];
        const x = re[b] * c - im[b] * s,
          y = re[b] * s + im[b] * c;
        re[b] = re[a] - x;
        im[b] = im[a] - y;
        re[a] += x;
        im[a] += y;
      }
  }
}

const tables = new Map();
function turns(n) {
  if (!tables.has(n)) {
    const angle = (i) => (-2 * Math.PI * i) / n;
    if (tables.size > 4) tables.clear();
    tables.set(n, [
      Float64Array.from({ length: n / 2 }, (_, i) => Math.cos(angle(i))),
      Float64Array.from({ length: n / 2 }, (_, i) => Math.sin(angle(i))),
    ]);
  }
  return tables.get(n);
}

/** The transform of any number of complex numbers, `[re, im]` (Bluestein: a convolution with a chirp). */
export function dft(re, im) {
  const n = re.length;
  let size = 1;
  while (size < 2 * n - 1) size *= 2;
  const [ar, ai, br, bi] = Array.from({ length: 4 }, () => new Float64Array(size));
  const chirp = (k) => (Math.PI * ((k * k) % (2 * n))) / n;
  for (let k = 0; k < n; k++) {
    const c = Math.cos(chirp(k)),
      s = Math.sin(chirp(k));
    ar[k] = re[k] * c + im[k] * s;
    ai[k] = im[k] * c - re[k] * s;
    br[k] = c;
    bi[k] = s;
    if (k) {
      br[size - k] = c;
      bi[size - k] = s;
    }
  }
  fft(ar, ai);
  fft(br, bi);
  for (let i = 0; i < size; i++)
    [ar[i], ai[i]] = [ar[i] * br[i] - ai[i] * bi[i], -(ar[i] * bi[i] + ai[i] * br[i])];
  fft(ar, ai); // of the conjugate: back again
  const outRe = new Float64Array(n),
    outIm = new Float64Array(n);
  for (let k = 0; k < n; k++) {
    const c = Math.cos(chirp(k)),
      s = Math.sin(chirp(k)),
      x = ar[k] / size,
      y = -ai[k] / size;
    outRe[k] = x * c + y * s;
    outIm[k] = y * c - x * s;
  }
  return [outRe, outIm];
}

/** One turn of a loop, `Float32Array [n]`, in `m` samples instead: the same period, read at other points. */
export function resampleLoop(wav, m) {
  const n = wav.length;
  if (n === m) return wav.slice();
  const [re, im] = dft(Float64Array.from(wav), new Float64Array(n)),
    kept = Math.min(n, m);
  const outRe = new Float64Array(m),
    outIm = new Float64Array(m);
  for (let k = 0; k <= kept >> 1; k++) {
    let factor = 1;
    if (kept % 2 === 0 && k === kept / 2) factor = m > n ? 0.5 : 2;
    outRe[k] = re[k] * factor;
    outIm[k] = -im[k] * factor; // the conjugate: a transform of it goes back
    if (k === 0 || 2 * k === m) outIm[k] = 0;
    else {
      outRe[m - k] = outRe[k];
      outIm[m - k] = -outIm[k];
    }
  }
  return Float32Array.from(dft(outRe, outIm)[0], (x) => x / n);
}
