/** The error function to f64 precision, for the reference of GELU. */

/** erf(x) = 2/√π · e^(−x²) · Σ 2ⁿ·x^(2n+1)/(2n+1)!! (Abramowitz & Stegun 7.1.6): all terms have one sign, so nothing cancels. */
export function erf(x: number): number {
  if (Math.abs(x) > 6) return Math.sign(x); // 1 − erf(6) < 2^-53
  let term = x;
  let sum = x;
  for (let n = 1; Math.abs(term) > Math.abs(sum) * 2 ** -54; n++) {
    term *= (2 * x * x) / (2 * n + 1);
    sum += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
}
