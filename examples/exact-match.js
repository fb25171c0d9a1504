/** The share of rows whose greedy answer is the completion, letter for letter. */

/**
 * @param {{ generate(prompt: string, options: { maxNewTokens: number, temperature: number }): AsyncIterable<string> }} model what loadModel gives
 * @param {readonly import('./harbour.js').Row[]} rows
 * @returns {Promise<{ share: number, answers: readonly string[] }>}
 */
export async function exactMatch(model, rows) {
  const answers = [];
  for (const { prompt } of rows) {
    let answer = '';
    for await (const piece of model.generate(prompt, { maxNewTokens: 16, temperature: 0 })) answer += piece;
    answers.push(answer);
  }
  const right = answers.filter((answer, index) => answer === rows[index]?.completion).length;
  return { share: right / rows.length, answers };
}
